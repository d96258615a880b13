"""Pausing and resuming evolution: everywhere, of one application, of one component."""

from collections.abc import Mapping
from typing import Any

from uhlp.web.panel import requests
from uhlp.web.panel.markup import Markup, Question, badge, tag
from uhlp.web.panel.page import Action, Fields, Visit


def pause_actions(visit: Visit, app_id: str | None = None, component_id: str | None = None) -> dict[str, Action]:
    """`pause` and `resume` of one scope, which is the page's and not the browser's to say."""
    evolution, actor = visit.services.evolution, visit.actor

    async def pause(fields: Fields) -> str:
        await evolution.pause(app_id=app_id, component_id=component_id, actor=actor, reason=fields.get("reason", ""))
        return "Evolution is paused; handlers in service go on serving."

    async def resume(fields: Fields) -> str:
        await evolution.resume(app_id=app_id, component_id=component_id, actor=actor, reason=fields.get("reason", ""))
        return "Evolution goes on."

    return {"pause-evolution": Action(requests.PAUSE, pause), "resume-evolution": Action(requests.RESUME, resume)}


def pause_switch(
    visit: Visit, told: Mapping[str, Any], app_id: str | None = None, component_id: str | None = None
) -> Markup:
    """Whether evolution runs in this scope, and the button for the other."""
    scope = {"appId": app_id, "componentId": component_id}
    place = f"{app_id} / {component_id}" if component_id else app_id or "everything"
    is_paused = scope in told.get("pauses", [])
    above = [one for one in told.get("pauses", []) if one != scope and _holds(one, scope)]
    if is_paused:
        question = Question("Resume evolution", f"Candidates of {place} advance again.")
        pressed = visit.button(requests.RESUME, "Resume evolution", "resume-evolution", tone="strong", asks=question)
    else:
        text = f"No candidate of {place} advances until it is resumed. Handlers in service serve on; alarms stay on."
        question = Question("Pause evolution", text)
        pressed = visit.button(requests.PAUSE, "Pause evolution", "pause-evolution", asks=question)
    state = (
        badge("paused", "warn") if is_paused else badge("paused above", "warn") if above else badge("running", "good")
    )
    return tag("div", tag("span", "Evolution: ", state), pressed, class_="switch")


def _holds(one: Mapping[str, Any], scope: Mapping[str, Any]) -> bool:
    """Whether a pause covers the scope from above."""
    return one["appId"] is None or (one["appId"] == scope["appId"] and one["componentId"] is None)
