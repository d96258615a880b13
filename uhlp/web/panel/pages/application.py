"""One application: its components and how far each has come."""

from collections.abc import Mapping
from typing import Any

from uhlp.prompts.overrides import PromptDescriptor
from uhlp.registry.snapshot import AppSnapshot
from uhlp.web.admin.apps import implementation
from uhlp.web.application_status import application_status
from uhlp.web.panel import addresses, figures
from uhlp.web.panel.candidate_marks import candidate_link, state_badge
from uhlp.web.panel.evolution_switch import pause_actions, pause_switch
from uhlp.web.panel.history import HOUR_S, requests_chart, spark
from uhlp.web.panel.markup import Markup, Part, empty, facts, join, link, mono, note, table, tag, when
from uhlp.web.panel.page import Page, Section, Visit
from uhlp.web.panel.prices import unpriced_calls
from uhlp.web.services import Services

_COLUMNS = [
    "Component",
    "Runs as",
    "Candidate",
    "Requests",
    "p50",
    "Errors",
    "Deoptimised",
    "Coverage",
    "Agreement",
    "Wrong, proven",
    "Cost",
]


async def application_page(visit: Visit, app_id: str) -> Page:
    services = visit.services
    snapshot = services.registry.snapshot(app_id)

    async def about() -> Markup:
        return await _about(visit, app_id)

    async def components() -> Markup:
        return await _components(visit, app_id)

    async def requests() -> Markup:
        return requests_chart(services, [app_id])

    async def history() -> Markup:
        return await _history(visit, app_id)

    return Page(
        title=snapshot.definition.display_name or app_id,
        place="Overview",
        trail=(("Overview", addresses.OVERVIEW),),
        sections=(
            Section(name="About", draw=about, is_plain=True, every_s=3),
            Section(name="Components", draw=components, every_s=3),
            Section(name="Requests", draw=requests, every_s=5),
            Section(name="Changes of its definition", draw=history, every_s=15),
        ),
        actions=pause_actions(visit, app_id),
    )


async def _about(visit: Visit, app_id: str) -> Markup:
    services = visit.services
    status, details = await application_status(services, app_id)
    snapshot = services.registry.snapshot(app_id)
    budget = snapshot.definition.llm.budget
    message = details.get("message")
    limit = budget.usd_per_day
    return join(
        [
            note(message, "warn") if message and status != "ACTIVE" else None,
            pause_switch(visit, await services.evolution.overview(), app_id),
            facts(
                [
                    ("Status", state_badge(status)),
                    ("Id", mono(app_id)),
                    ("Version", snapshot.definition.version or figures.DASH),
                    ("Revision", tag("span", mono(snapshot.revision[:12]), title=snapshot.revision)),
                    ("Prompts", _prompts(snapshot)),
                    (
                        "More",
                        join(
                            [
                                link("evaluations", addresses.evaluations(app_id)),
                                ", ",
                                link("runs of workflows", addresses.workflows(app=app_id)),
                            ]
                        ),
                    ),
                    ("Money for models, a day", "no limit" if limit is None else figures.usd(limit)),
                ]
            ),
        ]
    )


def _prompts(snapshot: AppSnapshot) -> Markup | str:
    components = snapshot.components.values()
    names = sorted({PromptDescriptor.of(snapshot.app_id, one.prompt).key for one in components if one.prompt})
    links = [link(name, addresses.prompt(snapshot.app_id, name)) for name in names]
    return Markup(", ").join(links) if links else "none"


async def _components(visit: Visit, app_id: str) -> Markup:
    services = visit.services
    snapshot = services.registry.snapshot(app_id)
    if not snapshot.components:
        return empty("It has no components yet.", "They stand in component_registry.yaml.")
    unpriced = await unpriced_calls(services, app_id)
    rows = []
    for component_id in snapshot.components:
        newest = (await services.evolution.candidates(app_id, component_id=component_id, limit=1)).rows
        rows.append(_component(services, app_id, component_id, newest[0] if newest else None, unpriced))
    return table("Components", _COLUMNS, rows, numeric=_COLUMNS[3:])


async def _history(visit: Visit, app_id: str) -> Markup:
    commits = await visit.services.state.history(app_id, None, 10)
    rows = [
        [
            when(commit.when),
            commit.message.partition("\n\n")[0].strip(),
            commit.author,
            tag("span", mono(commit.revision[:12]), title=commit.revision),
        ]
        for commit in commits
    ]
    return table("Changes", ["When", "What", "Who", "Revision"], rows)


def _component(
    services: Services, app_id: str, component_id: str, candidate: Mapping[str, Any] | None, unpriced: int | None
) -> list[Part]:
    component = services.registry.snapshot(app_id).components[component_id]
    window = services.windows.window(app_id, component_id, HOUR_S)
    present = services.windows.window(app_id, component_id, HOUR_S, component.definition.handler_type.lower())
    shown, route = window.as_dict(), component.definition.route_matcher
    gave_back = sum(shown["deoptimized"].values())
    known = candidate or {}
    return [
        join(
            [
                link(component_id, addresses.component(app_id, component_id)),
                tag("div", f"{' '.join(route.methods)} {route.path_pattern}", class_="quiet mono") if route else None,
            ]
        ),
        join(
            [
                state_badge(component.definition.handler_type),
                tag("div", implementation(component), class_="quiet mono"),
            ]
        ),
        join([state_badge(candidate["state"]), tag("div", candidate_link(candidate))]) if candidate else figures.DASH,
        join([figures.count(window.count), spark(services, app_id, component_id)]),
        join(
            [
                figures.milliseconds(present.value("p50", "latency_ms")),
                tag("div", f"p95 {figures.milliseconds(present.value('p95', 'latency_ms'))}", class_="quiet")
                if present.count
                else None,
            ]
        ),
        figures.share(window.value("rate", "errors"), 1),
        figures.share(gave_back / window.count if window.count else None, 1),
        figures.share(known.get("coverage")),
        figures.share(known.get("agreement"), 1),
        f"< {known['proven'] * 100:g} %" if known.get("proven") else figures.DASH,
        figures.cost(shown["costUsd"], tokens=shown["tokensIn"] + shown["tokensOut"], unpriced_calls=unpriced)
        if window.count
        else figures.DASH,
    ]
