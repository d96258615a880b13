"""A candidate's code beside the handler in service, its tests, and what became of each draft."""

from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

from uhlp.models.definition import HandlerType
from uhlp.web.panel import figures
from uhlp.web.panel.markup import Markup, badge, block, details, diff, empty, join, mono, table, tag
from uhlp.web.services import Services


async def code_parts(services: Services, told: Mapping[str, Any]) -> Markup:
    """Drafts first (the report), then what changed, the code and the tests."""
    parts = [_drafts(told)]
    if told["kind"] == "prompt":
        return join([*parts, _shorter(told)])
    if told["code"] is None:
        return join([*parts, empty("No code yet.", "A proposer writes it when the candidate is synthesized.")])
    current = await _in_service(services, told)
    if current is not None and current[1] != told["code"]:
        changed = "".join(
            unified_diff(
                current[1].splitlines(keepends=True),
                told["code"].splitlines(keepends=True),
                fromfile=current[0],
                tofile="this candidate",
            )
        )
        parts.append(details(f"What changes against {current[0]}", diff(changed, "Difference"), key="code-diff"))
    parts.append(details("The code", block(told["code"], "The candidate's code"), key="code"))
    if told["tests"]:
        parts.append(details("Its tests", block(told["tests"], "The candidate's tests"), key="tests"))
    if told.get("testReport"):
        parts.append(details("Their report", block(told["testReport"], "What pytest said"), key="test-report"))
    return join(parts)


def _shorter(told: Mapping[str, Any]) -> Markup:
    """What a shorter prompt changes, and what that saved and lost on held-out samples."""
    if told.get("tokens") is None:
        return empty("No shorter prompt yet.", "The OptimizeLoop tries shorter sections; what it finds stands here.")
    tokens = told["tokens"]
    rows = [
        [name, figures.count(tokens[which]), f"{tokens[f'passed{word}']} of {tokens[f'of{word}']}"]
        for name, which, word in (("In service", "before", "Before"), ("This one", "after", "After"))
    ]
    measured = table("On held-out samples", ["Prompt", "Prompt tokens a call", "Runs that pass"], rows)
    return join([measured, details("What changes", diff(told["diff"] or "", "Difference"), key="prompt-diff")])


async def _in_service(services: Services, told: Mapping[str, Any]) -> tuple[str, str] | None:
    """Name and text of the handler that answers now."""
    snapshot = services.registry.snapshot(told["appId"])
    component = snapshot.components.get(told["componentId"])
    if component is None or component.definition.handler_type is not HandlerType.JIT:
        return None
    script = component.definition.task_details.script
    if not script:
        return None
    return script, (await services.state.get_definition_file_content(told["appId"], script)).content


def _drafts(told: Mapping[str, Any]) -> Markup:
    drafts = told["drafts"]
    report = [
        tag("p", f"{figures.words(entry['to'])}: {entry['reason']}")
        for entry in told["timeline"]
        if entry["to"] in ("synthesized", "verified") and entry["from"] != entry["to"]
    ]
    if not drafts:
        return join(report)
    rows = [
        [
            figures.count(place),
            tag("span", mono(draft["sha"][:12]), title=draft["sha"]),
            badge("taken", "good")
            if draft["stage"] is None
            else badge(f"refused in {figures.words(draft['stage'])}", "bad"),
            draft["reason"] or "it passed",
            figures.count(draft["counterexamples"]),
        ]
        for place, draft in enumerate(drafts, start=1)
    ]
    columns = ["Draft", "Code", "What became of it", "Why", "Counterexamples shown"]
    return join([*report, table("Drafts", columns, rows, numeric=["Counterexamples shown"])])
