"""Evaluations of an application's components: how good each was, and two side by side."""

from typing import Any

from uhlp.errors import UhlpError
from uhlp.evals.eval_record import EvalFigures, EvalOrder, EvalRecord
from uhlp.web.admin.apps import component_of
from uhlp.web.admin.evaluations import compare_evaluations
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.markup import (
    EMPTY,
    Markup,
    Part,
    Question,
    badge,
    empty,
    join,
    link,
    mono,
    note,
    table,
    tag,
    tile,
    tiles,
    when,
)
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.shared_read import SharedRead

_COLUMNS = ["Evaluation", "Component", "Of", "State", "Passed", "Errors", "Mean score", "Tokens", "Cost", "p50", "When"]


async def evaluations_page(visit: Visit, app_id: str) -> Page:
    services = visit.services
    services.registry.snapshot(app_id)
    component_id = visit.query.get("component") or None
    read = SharedRead(lambda: services.eval_runs.all_of(app_id, component_id), clock=services.clock)

    async def listed() -> Markup:
        return _listed(visit, app_id, component_id, await read())

    async def comparison() -> Markup:
        return join([_choice(visit, app_id, await read()), await _comparison(visit, app_id)])

    async def evaluate(fields: Fields) -> str:
        component = component_of(services.registry.snapshot(app_id), fields.get("component", ""))
        order = EvalOrder(
            component_id=component.definition.component_id,
            origin="golden" if component.golden else "all",
            served=fields.get("served") == "yes",
        )
        made = await services.eval_runs.order(app_id, order)
        return f"Evaluation {made.id} is on its way."

    return Page(
        title=f"Evaluations of {component_id or app_id}",
        place="Overview",
        trail=(("Overview", addresses.OVERVIEW), (app_id, addresses.application(app_id))),
        sections=(
            Section(name="Evaluations", draw=listed),
            Section(name="Two side by side", draw=comparison, every_s=5),
        ),
        actions={"evaluate": Action(requests.EVALUATE, evaluate)},
    )


def _listed(visit: Visit, app_id: str, component_id: str | None, found: list[EvalRecord]) -> Markup:
    start = _start_buttons(visit, component_id) if component_id else EMPTY
    if not found:
        command = mono(f"uhlp eval {app_id} {component_id or 'COMPONENT'}")
        return start + empty(
            "No evaluations yet.", join([command, " starts one; a component's page leads to its own."])
        )
    rows = [_row(app_id, one) for one in found]
    return start + table("Evaluations", _COLUMNS, rows, numeric=_COLUMNS[4:10])


def _start_buttons(visit: Visit, component_id: str) -> Markup:
    text = "Its golden examples are asked once, or all samples where it has none; models are paid for it."
    offered = (("Evaluate the prompt", "no"), ("Evaluate what serves", "yes"))
    buttons = [
        visit.button(
            requests.EVALUATE,
            name,
            "evaluate",
            {"component": component_id, "served": served},
            asks=Question(f"{name}: {component_id}", text, is_reasoned=False),
        )
        for name, served in offered
    ]
    return tag("div", *buttons, class_="buttons") if any(buttons) else EMPTY


def _row(app_id: str, one: EvalRecord) -> list[Part]:
    told = one.figures
    is_over = one.state not in ("queued", "running")
    state = state_badge(one.state) if is_over else join([state_badge(one.state), f" {one.done:,} of {told.asked:,}"])
    return [
        link(one.id, addresses.evaluation(app_id, one.id), class_="id"),
        link(one.order.component_id, addresses.component(app_id, one.order.component_id)),
        subject(one),
        state,
        f"{figures.share(told.pass_rate, 1)} of {told.ok:,}" if is_over else figures.DASH,
        figures.count(told.errored),
        figures.DASH if told.mean_score is None else f"{told.mean_score:.3f}",
        figures.count(told.tokens_in + told.tokens_out),
        cost(told),
        figures.milliseconds(told.p50_ms),
        when(one.created_at),
    ]


def cost(told: EvalFigures) -> str:
    """What it took, as far as that is known."""
    return _cost(told.cost_usd, told.unpriced)


def _cost(usd: float, unpriced: int) -> str:
    if not unpriced:
        return figures.usd(usd)
    return f"{figures.usd(usd)}, {unpriced:,} unpriced" if usd else f"{unpriced:,} unpriced"


def subject(one: EvalRecord) -> str:
    """What was evaluated, by what samples."""
    what = "what serves" if one.order.served else f"prompt@{one.order.tag}"
    samples = "given samples" if one.order.samples else {"all": "all samples"}.get(one.order.origin, one.order.origin)
    return f"{what}, {samples}"


def _choice(visit: Visit, app_id: str, found: list[EvalRecord]) -> Markup:
    """The form that chooses two."""
    done = [one for one in found if one.state == "done"]
    if len(done) < 2:
        return empty("Two that are done can be compared.")

    def select(name: str, query: str, place: int) -> Markup:
        chosen = visit.query.get(query) or done[place].id
        options = [
            tag("option", f"{one.id}: {one.order.component_id}", value=one.id, selected=one.id == chosen)
            for one in done
        ]
        return tag("label", tag("span", name), tag("select", *options, data_query=query))

    component = visit.query.get("component")
    kept = tag("input", type="hidden", value=component, data_query="component") if component else None
    return tag(
        "form",
        select("Before", "from", 1),
        select("After", "to", 0),
        kept,
        tag("button", "Compare", class_="button"),
        class_="filter",
        data_place=addresses.evaluations(app_id),
    )


async def _comparison(visit: Visit, app_id: str) -> Markup:
    first, second = visit.query.get("from"), visit.query.get("to")
    if not first or not second:
        return EMPTY
    try:
        told = await compare_evaluations(app_id, visit.services, first, second)
    except UhlpError as error:
        return note(error.message, "bad")
    return join([tag("h3", f"From {told['from']['id']} to {told['to']['id']}"), _compared(told)])


def _compared(told: dict[str, Any]) -> Markup:
    before, after = told["from"]["figures"], told["to"]["figures"]
    figured = tiles(
        tile("Passed", figures.share(after["passRate"], 1), f"{figures.share(before['passRate'], 1)} before"),
        tile("Better", figures.count(told["better"]), f"of {told['samples']:,} in both"),
        tile("Worse", figures.count(told["worse"]), f"of {told['samples']:,} in both", "bad" if told["worse"] else ""),
        tile(
            "Cost",
            _cost(after["costUsd"], after["unpriced"]),
            f"{_cost(before['costUsd'], before['unpriced'])} before",
        ),
    )
    same = [
        badge("same samples", "good") if told["sameDataset"] else badge("other samples", "warn"),
        badge("same prompt") if told["samePrompt"] else badge("another prompt"),
    ]
    rows = [[mono(one["id"]), f"{one['before']:.2f}", f"{one['after']:.2f}", one["reason"]] for one in told["flips"]]
    columns = ["Sample", "Before", "After", "Why"]
    changed = (
        table("What changed", columns, rows, numeric=columns[1:3]) if rows else empty("No sample's score changed.")
    )
    return join([figured, tag("p", same[0], " ", same[1]), changed])
