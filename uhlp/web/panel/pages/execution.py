"""One run of a workflow: every attempt of its steps on one line of time, and what each was given and gave."""

from collections.abc import Mapping, Sequence
from typing import Any

from uhlp.execution.workflow.records import OPEN_STATES
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import (
    Markup,
    Part,
    Question,
    details,
    empty,
    facts,
    join,
    link,
    moment,
    mono,
    note,
    table,
    tag,
    tile,
    tiles,
)
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.prices import unpriced_calls
from uhlp.web.panel.shared_read import SharedRead
from uhlp.web.panel.waiting_list import side_by_side

_COLUMNS = ["Step", "Attempt", "State", "When", "Took", "Answered by", "Tokens", "Cost"]
_LEAST_WIDTH = 0.6
"""Of a bar, in percent: what took no time is seen all the same."""


async def execution_page(visit: Visit, app_id: str, execution_id: str) -> Page:
    services = visit.services
    services.registry.snapshot(app_id)
    history = services.workflows.history
    record = await history.record(app_id, execution_id)
    told = SharedRead(lambda: history.timeline(app_id, execution_id), clock=services.clock)

    async def about() -> Markup:
        return _about(visit, await told(), await unpriced_calls(services, app_id))

    async def timeline() -> Markup:
        return _timeline(await told(), await unpriced_calls(services, app_id))

    async def values() -> Markup:
        return _values(await told())

    async def cancel(fields: Fields) -> str:
        why = f"Cancelled by {visit.actor}: {fields.get('reason', '')[:500]}"
        await services.workflows.cancel(app_id, execution_id, why=why)
        return "The run is cancelled, with the steps that were being done."

    return Page(
        title=f"Run {execution_id[:20]}",
        place="Workflows",
        trail=(
            ("Workflows", addresses.WORKFLOWS),
            (
                f"{app_id} / {record.component_id}",
                addresses.workflows(app=app_id, component=record.component_id),
            ),
        ),
        sections=(
            Section(name="About", draw=about, is_plain=True),
            Section(name="Timeline", draw=timeline),
            Section(name="What went in and came out", draw=values),
        ),
        actions={"cancel": Action(requests.CANCEL_EXECUTION, cancel)},
    )


def _about(visit: Visit, told: Mapping[str, Any], unpriced: int | None) -> Markup:
    usage, error = told["usage"], told["error"]
    tokens = usage["tokensIn"] + usage["tokensOut"]
    is_open = told["state"] in OPEN_STATES
    asks = Question("Cancel the run", "It ends, with the steps that are being done. What they have done is not undone.")
    cancel = visit.button(requests.CANCEL_EXECUTION, "Cancel", "cancel", tone="danger", asks=asks) if is_open else None
    return join(
        [
            note(f"{error['code']}: {error['message']}", "bad") if error else None,
            tiles(
                tile("State", state_badge(told["state"]), f"answers {figures.words(told['resultType'])}"),
                tile("Took", figures.milliseconds(told["durationMs"]), "so far" if is_open else "in all"),
                tile("Attempts of steps", _attempts(told), _again(told["steps"])),
                tile(
                    "Tokens",
                    figures.count(tokens),
                    f"{usage['tokensIn']:,} in, {usage['tokensOut']:,} out",
                ),
                tile(
                    "Cost",
                    figures.cost(usage["costUsd"], tokens=tokens, unpriced_calls=unpriced),
                    "of all its model calls",
                ),
            ),
            tag("div", cancel, class_="buttons") if cancel else None,
            facts(
                [
                    (
                        "Component",
                        link(
                            f"{told['appId']} / {told['componentId']}",
                            addresses.component(told["appId"], told["componentId"]),
                        ),
                    ),
                    ("Workflow", mono(told["workflowId"])),
                    ("Revision", tag("span", mono(told["revision"][:12]), title=told["revision"])),
                    ("Began", join([moment(told["startedAt"]), f" by {figures.words(told['source'])}"])),
                    (
                        "Ended",
                        moment(told["endedAt"])
                        if told["endedAt"]
                        else join(["not yet; at most ", moment(told["deadlineAt"])]),
                    ),
                    ("Trace", mono(told["traceId"])),
                ]
            ),
        ]
    )


def _attempts(told: Mapping[str, Any]) -> str:
    shown = figures.count(len(told["steps"]))
    return f"{shown} and more" if told["areStepsLeftOut"] else shown


def _again(steps: Sequence[Mapping[str, Any]]) -> str:
    again = sum(one["attempt"] > 1 for one in steps)
    return f"{again:,} of them repeated" if again else "none was repeated"


def _timeline(told: Mapping[str, Any], unpriced: int | None) -> Markup:
    steps = told["steps"]
    if not steps:
        return empty("No step has begun yet.")
    whole = max(told["durationMs"], 0.001)
    rows = [_row(one, whole, unpriced) for one in steps]
    shown = table("Timeline", _COLUMNS, rows, numeric=["Attempt", "Took", "Tokens", "Cost"])
    left = f"The first {len(steps):,} are shown." if told["areStepsLeftOut"] else None
    return join([shown, tag("p", left, class_="quiet") if left else None])


def _row(step: Mapping[str, Any], whole_ms: float, unpriced: int | None) -> list[Part]:
    tokens = step["tokensIn"] + step["tokensOut"]
    error = step["error"]
    return [
        join([mono(step["path"]), tag("div", step["kind"], class_="quiet id")]),
        figures.count(step["attempt"]),
        join(
            [
                state_badge(step["state"]),
                tag("div", f"{error['code']}: {error['message']}", class_="quiet") if error else None,
                _wait(step),
            ]
        ),
        join([_bar(step, whole_ms), tag("span", f"after {figures.milliseconds(step['startedMs'])}", class_="quiet")]),
        figures.milliseconds(step["durationMs"]),
        tag("code", step["implementation"], class_="id") if step["implementation"] else figures.DASH,
        figures.count(tokens or None),
        figures.cost(step["costUsd"], tokens=tokens, unpriced_calls=unpriced) if tokens else figures.DASH,
    ]


def _bar(step: Mapping[str, Any], whole_ms: float) -> Markup:
    """Where in the run's time the attempt stands."""
    left = min(100.0 - _LEAST_WIDTH, step["startedMs"] / whole_ms * 100)
    lasted = whole_ms - step["startedMs"] if step["durationMs"] is None else step["durationMs"]
    width = min(100.0 - left, max(_LEAST_WIDTH, lasted / whole_ms * 100))
    return tag("span", tag("span", "", style=f"margin-left:{left:.1f}%;width:{width:.1f}%"), class_="progress time")


def _wait(step: Mapping[str, Any]) -> Markup | None:
    waits = step["waitsFor"]
    if waits is None:
        return None
    parts: list[Part] = ["waits for "]
    if waits["callback"]:
        parts += [mono(waits["callback"]), " with ", mono(waits["correlation"] or figures.DASH)]
    if waits["until"]:
        parts += [", at most until " if waits["callback"] else "", moment(waits["until"])]
    return tag("div", *parts, class_="quiet")


def _values(told: Mapping[str, Any]) -> Markup:
    """Masked as samples are: what the component's policy redacts is redacted here."""
    whole = side_by_side([("Input", told["input"]), ("Result", told["result"])], "the run")
    run = join([tag("h3", "The whole run"), whole, tag("h3", "Its steps") if told["steps"] else None])
    steps = [
        details(
            join([mono(one["path"]), f" attempt {one['attempt']} ", state_badge(one["state"])]),
            side_by_side(
                [("Input", one["input"]), ("Error", one["error"]) if one["error"] else ("Output", one["output"])],
                f"{one['path']}, attempt {one['attempt']}",
            ),
            key=f"step-{one['path']}-{one['attempt']}",
        )
        for one in told["steps"]
    ]
    return join([run, *steps])
