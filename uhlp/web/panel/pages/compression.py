"""One attempt to shorten a prompt: every edit with what it changed, saved and lost, and all of them together."""

from typing import Any

from pydantic import ValidationError

from uhlp.errors import ValidationFailed
from uhlp.optimization.compress.optimization_report import ArmFigures, EditVerdict
from uhlp.optimization.compress.optimize_run import OptimizeRun
from uhlp.web.admin.optimize_requests import ApplyReport, apply_request, described
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import (
    Markup,
    Question,
    badge,
    details,
    diff,
    empty,
    facts,
    join,
    link,
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

_COLUMNS = ["Arm", "Passed", "n", "Errors", "Tokens in", "Tokens out", "Cost"]


async def compression_page(visit: Visit, request_id: str) -> Page:
    services = visit.services
    run = await services.optimize_runs.get(request_id)
    app_id, name = run.request.prompt_ns, run.request.prompt_key
    services.registry.snapshot(app_id)
    read = SharedRead(lambda: services.optimize_runs.get(request_id), clock=services.clock)

    async def about() -> Markup:
        return _about(visit, await read())

    async def certificate() -> Markup:
        return _certificate(await read(), await unpriced_calls(services, app_id))

    async def edits() -> Markup:
        found = (await read()).edits
        unpriced = await unpriced_calls(services, app_id)
        return join(_edit(place, one, unpriced) for place, one in enumerate(found)) or empty("No edit is proposed yet.")

    async def cancel(fields: Fields) -> str:
        await services.optimize_runs.cancel(request_id)
        return "It ends after the runs under way; its report says what was found so far."

    async def apply(fields: Fields) -> str:
        told = await apply_request(request_id, _applying(fields), services, visit.actor)
        return f"{name}@{told['tag']} is at {told['revision']}."

    return Page(
        title=f"Shortening {name}",
        place="Overview",
        trail=(
            ("Overview", addresses.OVERVIEW),
            (app_id, addresses.application(app_id)),
            (f"Prompt {name}", addresses.prompt(app_id, name)),
        ),
        sections=(
            Section(name="About", draw=about, is_plain=True),
            Section(name="All accepted edits together", draw=certificate),
            Section(name="Edits", draw=edits),
        ),
        actions={
            "cancel": Action(requests.CANCEL_COMPRESSION, cancel),
            "apply": Action(requests.APPLY_COMPRESSION, apply),
        },
    )


def _applying(fields: Fields) -> ApplyReport:
    try:
        return ApplyReport(reason=fields.get("reason", ""))
    except ValidationError as error:
        raise ValidationFailed(f"The reason: {error.errors()[0]['msg']}") from None


def _about(visit: Visit, run: OptimizeRun) -> Markup:
    told: dict[str, Any] = described(run, is_short=True)
    train, held_out = run.samples
    spent, asks = run.spent, Question("Cancel", "It ends after the runs under way.", is_reasoned=False)
    button = None if run.is_over else visit.button(requests.CANCEL_COMPRESSION, "Cancel", "cancel", asks=asks)
    if told.get("verdict") == "shorter":
        where = f"Put it under {run.request.baseline_tag}"
        text = "It serves from now on, on this report's word alone; the governor would try it on live traffic first."
        button = visit.button(requests.APPLY_COMPRESSION, where, "apply", asks=Question(where, text))
    accepted = sum(one.outcome == "accepted" for one in run.edits)
    saved = told.get("totalTokenReduction")
    return join(
        [
            note(told["error"], "bad") if told.get("error") else None,
            tag("p", told["reason"], class_="lead") if told.get("reason") else None,
            tiles(
                tile("State", state_badge(run.step.lower()), figures.words(told.get("verdict", "no verdict yet"))),
                tile("Edits", figures.count(len(run.edits)), f"{accepted:,} accepted one by one"),
                tile(
                    "Saved a run",
                    f"{saved:,} tokens" if saved else figures.DASH,
                    f"of {told['baselineTokenCount']:,} measured" if told.get("baselineTokenCount") else "so far",
                ),
                tile("Spent", figures.usd(spent.usd), f"{spent.calls:,} runs, {spent.tokens:,} tokens"),
                tile("Time", figures.seconds(spent.seconds), "of its work"),
            ),
            tag("div", button, class_="buttons") if button else None,
            facts(
                [
                    (
                        "Prompt",
                        link(run.request.prompt_key, addresses.prompt(run.request.prompt_ns, run.request.prompt_key)),
                    ),
                    ("Against", mono(run.request.baseline_tag)),
                    ("Component", told["componentId"] or figures.DASH),
                    (
                        "Samples",
                        f"{train:,} to choose by, {held_out:,} held out",
                    ),
                    ("Proposed by", ", ".join(run.request.strategies) or "every strategy"),
                    ("Rule", run.request.rule),
                ]
            ),
        ]
    )


def _certificate(run: OptimizeRun, unpriced: int | None) -> Markup:
    one = run.certificate
    if one is None:
        hint = "What is accepted together is held against samples that nobody has decided by."
        return empty("There is none: nothing was accepted together." if run.is_over else "Not made yet.", hint)
    mark = badge("accepted", "good") if one.is_accepted else badge("refused", "bad")
    said = f" {_change(one.difference, one.at_least)}{' ' + one.reason if one.reason else ''}"
    unseen, few = one.unseen_losers, None
    if unseen is not None:
        text = f"Of {one.samples:,} inputs: up to {unseen:.0%} of all may lose and not be among them (95 %)."
        few = tag("p", text, class_="quiet")
    return join([tag("p", mark, said), few, _arms("The certificate", one.baseline, one.candidate, unpriced)])


def _edit(place: int, one: EditVerdict, unpriced: int | None) -> Markup:
    saved = one.measured_saving
    head = tag(
        "h3",
        mono(one.edit.section),
        " ",
        state_badge(one.outcome),
        tag("span", f" by {one.edit.strategy or 'a strategy'}, {_saves(one.edit.saves, saved)}", class_="quiet"),
    )
    lost = f"Lost: {', '.join(one.lost[:10])}{' …' if len(one.lost) > 10 else ''}" if one.lost else None
    return tag(
        "article",
        head,
        tag("p", one.reason) if one.reason else None,
        tag("p", _change(one.difference, one.at_least)) if one.difference is not None else None,
        tag("p", lost, class_="quiet") if lost else None,
        _arms(f"Edit {place + 1}: {one.edit.section}", one.baseline, one.candidate, unpriced)
        if one.baseline.n
        else None,
        details("What it changes", diff(one.diff, f"Edit {place + 1}"), key=f"edit-{place}"),
        class_="card",
    )


def _saves(estimated: int, measured: float | None) -> str:
    return (
        f"about {figures.number_of(estimated, 'token')} a run"
        if measured is None
        else f"{measured:,.0f} tokens a run, measured"
    )


def _change(difference: float, at_least: float | None) -> str:
    bound = "" if at_least is None else f", at least {at_least * 100:+.1f} with confidence"
    return f"Pass rate {difference * 100:+.1f} points{bound}."


def _arms(label: str, before: ArmFigures, after: ArmFigures, unpriced: int | None) -> Markup:
    rows = [
        [
            name,
            figures.share(arm.pass_rate, 1),
            figures.count(arm.n),
            figures.count(arm.errored),
            figures.count(arm.tokens_in),
            figures.count(arm.tokens_out),
            figures.cost(arm.cost_usd, tokens=arm.tokens_in or 0, unpriced_calls=unpriced),
        ]
        for name, arm in (("before", before), ("after", after))
    ]
    return table(label, _COLUMNS, rows, numeric=_COLUMNS[1:])
