"""Money: what models took, what handlers save, and what a person may start because it pays (contracts §7)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.evolution.usage_store import DAYS_KEPT
from uhlp.web.admin.access import ServicesDep
from uhlp.web.admin.observations import WindowQuery

router = APIRouter(tags=["money"])


@router.get("/apps/{app_id}/usage")
async def usage(app_id: str, services: ServicesDep, window_s: WindowQuery = 3_600) -> dict[str, Any]:
    """Model calls, tokens, money and seconds, today (UTC) and in total, by component and by purpose; beside them the
    requests of each component over the window: all of them, and as `present` those that what runs now has answered."""
    used = await services.evolution.usage(app_id)
    components = services.registry.snapshot(app_id).components
    known = used["components"]

    def runs_as(component_id: str) -> str | None:
        component = components.get(component_id)
        return None if component is None else component.definition.handler_type.lower()

    return {
        **used,
        "windowS": window_s,
        "components": {
            component_id: {
                **services.windows.window(app_id, component_id, window_s).as_dict(),
                "present": services.windows.window(app_id, component_id, window_s, runs_as(component_id)).as_dict(),
                **known.get(component_id, {"today": None, "total": None}),
            }
            for component_id in dict.fromkeys((*components, *known))
        },
    }


@router.get("/apps/{app_id}/savings")
async def savings(
    app_id: str, services: ServicesDep, days: Annotated[int, Query(ge=1, le=DAYS_KEPT)] = 7
) -> dict[str, Any]:
    """What handlers and shorter prompts saved today (UTC), in total and on each of the last `days`, in money, seconds
    and tokens, against the baseline that was frozen before they served; what evolution spent; and the measured
    break-even of each.
    """
    return await services.evolution.savings(app_id, days)


@router.get("/recommendations")
async def recommendations(
    services: ServicesDep, app_id: Annotated[str | None, Query(alias="appId")] = None
) -> dict[str, Any]:
    """What rules ask for and a person may start, the one worth most first: expected saving, break-even, the rule with
    its values, why it was not started by itself, and the path (`start`) to POST {reason} to."""
    return {"recommendations": await services.evolution.recommendations(app_id)}
