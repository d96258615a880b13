"""One evaluation: its figures, and what became of each sample."""

from uhlp.evals.eval_record import EvalRecord, SampleVerdict
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import (
    Markup,
    Question,
    block,
    details,
    empty,
    facts,
    join,
    mono,
    note,
    table,
    tag,
    tile,
    tiles,
    when,
)
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.pages.evaluations import cost, subject
from uhlp.web.panel.shared_read import SharedRead

_SHOWN = 100


async def evaluation_page(visit: Visit, app_id: str, eval_id: str) -> Page:
    services = visit.services
    services.registry.snapshot(app_id)
    found = await services.eval_runs.get(app_id, eval_id)
    read = SharedRead(lambda: services.eval_runs.get(app_id, eval_id), clock=services.clock)

    async def about() -> Markup:
        return _about(visit, await read())

    async def samples() -> Markup:
        return _samples((await read()).verdicts)

    async def cancel(fields: Fields) -> str:
        await services.eval_runs.cancel(app_id, eval_id)
        return "It ends with what it has found so far."

    component_id = found.order.component_id
    return Page(
        title=f"Evaluation {eval_id}",
        place="Overview",
        trail=(
            ("Overview", addresses.OVERVIEW),
            (app_id, addresses.application(app_id)),
            (component_id, addresses.component(app_id, component_id)),
            ("Evaluations", addresses.evaluations(app_id, component=component_id)),
        ),
        sections=(
            Section(name="About", draw=about, is_plain=True),
            Section(name="Samples, the worst first", draw=samples, every_s=3),
        ),
        actions={"cancel": Action(requests.CANCEL_EVALUATION, cancel)},
    )


def _about(visit: Visit, one: EvalRecord) -> Markup:
    told = one.figures
    asks = Question("Cancel", "It ends with what it has found so far.", is_reasoned=False)
    may_end = one.state in ("queued", "running")
    cancel = visit.button(requests.CANCEL_EVALUATION, "Cancel", "cancel", asks=asks) if may_end else None
    return join(
        [
            note(one.error, "bad") if one.error else None,
            tiles(
                tile("State", state_badge(one.state), f"{one.done:,} of {told.asked:,} runs"),
                tile("Passed", figures.share(told.pass_rate, 1), f"{told.passed:,} of {told.ok:,} answered"),
                tile("Errors", figures.count(told.errored), "not counted as failures", "bad" if told.errored else ""),
                tile("Cost", cost(told), f"{told.tokens_in + told.tokens_out:,} tokens"),
                tile("p50", figures.milliseconds(told.p50_ms), "of what was answered"),
            ),
            tag("div", cancel, class_="buttons") if cancel else None,
            facts(
                [
                    ("Component", one.order.component_id),
                    ("What", subject(one)),
                    ("Runs of a sample", figures.count(one.order.repeats)),
                    ("Asked for", when(one.created_at)),
                    ("Ended", when(one.ended_at)),
                    ("Samples, by their digest", mono(one.dataset_digest[:12] or figures.DASH)),
                ]
            ),
        ]
    )


def _samples(verdicts: tuple[SampleVerdict, ...]) -> Markup:
    if not verdicts:
        return empty("No sample is answered yet.")
    ordered = sorted(verdicts, key=lambda one: (one.score is not None, 0.0 if one.score is None else one.score))
    rows = [
        [
            mono(one.id),
            figures.DASH if one.score is None else f"{one.score:.2f}",
            f"{one.passed} of {one.runs}",
            figures.count(one.errors),
            join(
                [
                    one.reason,
                    details("What it said", block(one.output, f"Output: {one.id}"), key=f"output-{one.id}")
                    if one.output
                    else None,
                ]
            )
            or figures.DASH,
        ]
        for one in ordered[:_SHOWN]
    ]
    columns = ["Sample", "Score", "Passed", "Errors", "Why"]
    more = f"{len(verdicts) - _SHOWN:,} better ones are not shown." if len(verdicts) > _SHOWN else None
    shown = table("Samples", columns, rows, numeric=columns[1:4])
    return join([shown, tag("p", more, class_="quiet") if more else None])
