"""The versions of a component: what served when, why it came and went, what changed, and the way back."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import UhlpError
from uhlp.models.definition import HandlerType
from uhlp.web.admin.apps import component_of, implementation
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.markup import Markup, Question, badge, block, details, diff, empty, join, link, note, tag, when
from uhlp.web.panel.page import Action, Fields, Visit
from uhlp.web.services import Services

_DIFFS = 5
"""So many of the newest versions show what changed."""


def version_action(visit: Visit, app_id: str, component_id: str) -> Action:
    async def return_to(fields: Fields) -> str:
        told = await visit.services.versions.return_to(
            app_id, component_id, fields.get("version", ""), actor=visit.actor, reason=fields.get("reason", "")
        )
        return f"In service now: {told['inService'] or 'the handler that its owner wrote'}."

    return Action(requests.RETURN_TO_VERSION, return_to)


async def versions_list(visit: Visit, app_id: str, component_id: str) -> Markup:
    """A timeline, newest first."""
    listed = await visit.services.versions.listed(app_id, component_id)
    versions = listed["versions"]
    if not versions:
        return empty("Nothing has a version yet.")
    entries = []
    for place, one in enumerate(versions):
        older = next((other for other in versions[place + 1 :] if other["kind"] == one["kind"]), None)
        changed = await _changed(visit.services, app_id, component_id, older, one) if place < _DIFFS else Markup()
        entries.append(tag("li", _version(visit, one), changed, class_="here" if one["isInService"] else None))
    left = tag("p", "Older ones are left out; the ledger has them all.", class_="quiet")
    return join([tag("ol", *entries, class_="timeline"), left if listed["areVersionsLeftOut"] else None])


def _version(visit: Visit, one: Mapping[str, Any]) -> Markup:
    figures_then = one["statistics"]
    proof = []
    if figures_then.get("n"):
        proof.append(f"{figures_then.get('k', 0):,} of {figures_then['n']:,} wrong")
    if figures_then.get("coverage") is not None:
        proof.append(f"answers {figures.share(figures_then['coverage'])} itself")
    ended = next((service for service in reversed(one["services"]) if service.get("endReason")), None)
    head = tag(
        "div",
        tag("strong", one["version"]),
        " ",
        badge("in service", "good") if one["isInService"] else None,
        tag(
            "span",
            " since ",
            when(one["at"]),
            f" by {one['actor'] or 'nobody'}; served {figures.seconds(one['inServiceS'])}",
            class_="quiet",
        ),
    )
    return join(
        [
            head,
            tag("p", one["reason"] or figures.DASH),
            tag("p", "; ".join(proof), class_="quiet") if proof else None,
            tag(
                "p",
                f"Ended as {figures.words(ended['endedAs'])} by {ended['endedBy']}: {ended['endReason']}",
                class_="quiet",
            )
            if ended and not one["isInService"]
            else None,
            tag("p", "Evidence: ", link(one["candidateId"], addresses.candidate(one["candidateId"])))
            if one["candidateId"]
            else None,
            _way_back(visit, one),
        ]
    )


def _way_back(visit: Visit, one: Mapping[str, Any]) -> Markup | None:
    if one["isInService"]:
        return None
    if one["whyNotAgain"]:
        return tag("p", f"It may not serve again: {one['whyNotAgain']}", class_="quiet")
    question = Question(f"Return to {one['version']}", "It answers at once. The ledger is written first.")
    return visit.button(
        requests.RETURN_TO_VERSION,
        f"Return to {one['version']}",
        "return-to",
        {"version": one["version"]},
        asks=question,
    )


async def _changed(
    services: Services, app_id: str, component_id: str, older: Mapping[str, Any] | None, one: Mapping[str, Any]
) -> Markup:
    if older is None:
        return Markup()
    try:
        text = await services.versions.diff(app_id, component_id, older["version"], one["version"])
    except UhlpError as error:
        text = ""
        return note(error.message)
    if not text:
        return Markup()
    return details(
        f"What changed since {older['version']}",
        diff(text, f"{older['version']} to {one['version']}"),
        key=f"diff-{one['version']}",
    )


async def source(services: Services, app_id: str, component_id: str) -> Markup:
    """The handler's code or the prompt's text, whichever answers now, and the prompt behind a handler."""
    component = component_of(services.registry.snapshot(app_id), component_id)
    task, parts = component.definition.task_details, []
    if component.definition.handler_type is HandlerType.JIT and task.script:
        code = (await services.state.get_definition_file_content(app_id, task.script)).content
        parts += [
            tag("h3", f"{implementation(component)}: ", tag("code", task.script)),
            block(code, "The handler's code"),
        ]
    if component.prompt is not None:
        path = component.prompt.path
        text = (await services.state.get_definition_file_content(app_id, path)).content
        label = "The prompt behind it" if parts else "The prompt"
        shown = [tag("h3", f"{label}: ", tag("code", path)), block(text, label)]
        parts += [details(label, *shown, key="prompt")] if parts else shown
    return join(parts) if parts else empty("Nothing to show: it has neither a prompt nor a handler.")
