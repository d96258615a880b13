"""Runs of workflows, newest first; of one application, component or state when that is asked for."""

from typing import Any, get_args

from uhlp.errors import BadInput
from uhlp.execution.workflow.records import RunState
from uhlp.web.panel import addresses, figures
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import Markup, empty, join, link, moment, table, tag
from uhlp.web.panel.page import Page, Section, Visit

MOST = 100
_COLUMNS = ["Run", "Component", "State", "Began", "Took", "Began by", "Error"]


async def workflows_page(visit: Visit) -> Page:
    query = visit.query
    state, app_id, component_id = query.get("state"), query.get("app"), query.get("component")
    if state and state not in get_args(RunState):
        raise BadInput(f"A run is {', '.join(get_args(RunState))}.")
    if app_id:
        visit.services.registry.snapshot(app_id)

    async def listed() -> Markup:
        return await _listed(visit, app_id, component_id, state)

    place = " / ".join(one for one in (app_id, component_id) if one)
    return Page(
        title=f"Workflows of {place}" if place else "Workflows",
        place="Workflows",
        trail=(("All workflows", addresses.WORKFLOWS),) if place else (),
        sections=(Section(name="Runs", draw=listed),),
    )


async def _listed(visit: Visit, app_id: str | None, component_id: str | None, state: str | None) -> Markup:
    history = visit.services.workflows.history
    found: list[dict[str, Any]] = []
    for one in [app_id] if app_id else visit.services.registry.app_ids():
        found += await history.listed(one, component_id=component_id, state=state, limit=MOST)
    found.sort(key=lambda run: str(run["startedAt"]), reverse=True)
    scope = {"app": app_id, "component": component_id}
    links = [link("all", addresses.workflows(**scope), aria_current=None if state else "true")]
    links += [
        link(one, addresses.workflows(**scope, state=one), aria_current="true" if one == state else None)
        for one in get_args(RunState)
    ]
    chosen = tag("nav", *links, class_="filters", aria_label="States")
    if not found:
        hint = (
            "A request to a component of the type WORKFLOW begins one; its steps stand in workflows/ of the definition."
        )
        return chosen + empty("No run is in this state." if state else "No runs yet.", hint)
    more = tag("p", f"The newest {MOST} are shown.", class_="quiet") if len(found) > MOST else None
    rows = [
        [
            link(one["executionId"][:20], addresses.execution(one["appId"], one["executionId"]), class_="id"),
            link(f"{one['appId']} / {one['componentId']}", addresses.component(one["appId"], one["componentId"])),
            state_badge(one["state"]),
            moment(one["startedAt"]),
            figures.milliseconds(one["durationMs"]),
            figures.words(one["source"]),
            (one["error"] or {}).get("code") or figures.DASH,
        ]
        for one in found[:MOST]
    ]
    return join([chosen, table("Runs", _COLUMNS, rows, numeric=["Took"]), more])
