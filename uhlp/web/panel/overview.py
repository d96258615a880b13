"""What the panel's page shows: plain values, read from the services at the moment of asking."""

from dataclasses import dataclass
from typing import Any

from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.web.admin.apps import implementation
from uhlp.web.application_status import application_status
from uhlp.web.services import Services

WINDOW_S = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentRow:
    """One component; figures are of the last hour, None where nothing was observed."""

    component_id: str
    route: str
    handler_type: str
    implementation: str
    requests: int
    p50_ms: float | None
    candidate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationCard:
    app_id: str
    display_name: str
    status: str
    problems: tuple[str, ...]
    """Why its sandboxes cannot serve all of it now."""

    revision: str
    components: tuple[ComponentRow, ...]


async def applications(services: Services) -> list[ApplicationCard]:
    """Every application with its components, by name."""
    newest: dict[tuple[str, str], str] = {}
    for candidate in await services.evolution.candidates():  # newest first
        newest.setdefault((candidate["appId"], candidate["componentId"]), str(candidate["state"]))
    cards = []
    for app_id in services.registry.app_ids():
        snapshot = services.registry.snapshot(app_id)
        status, details = await application_status(services, app_id)
        rows = tuple(
            _row(services, app_id, component, newest.get((app_id, component_id), ""))
            for component_id, component in snapshot.components.items()
        )
        cards.append(
            ApplicationCard(
                app_id=app_id,
                display_name=snapshot.definition.display_name or app_id,
                status=status,
                problems=tuple(details.get("sandboxProblems", ())),
                revision=snapshot.revision[:10],
                components=rows,
            )
        )
    return cards


def _row(services: Services, app_id: str, component: ComponentSnapshot, candidate: str) -> ComponentRow:
    definition = component.definition
    window = services.windows.window(app_id, definition.component_id, WINDOW_S)
    route = definition.route_matcher
    return ComponentRow(
        component_id=definition.component_id,
        route=f"{' '.join(route.methods)} {route.path_pattern}" if route else "",
        handler_type=str(definition.handler_type),
        implementation=implementation(component),
        requests=int(window.value("count", "requests") or 0),
        p50_ms=window.value("p50", "latency_ms"),
        candidate=candidate,
    )


def isolation(services: Services) -> dict[str, Any]:
    """Driver and isolation level of the sandboxes on this machine."""
    capabilities = services.sandboxes.capabilities
    return {
        "driver": capabilities.driver,
        "isolation": capabilities.isolation,
        "missing": list(capabilities.missing),
    }
