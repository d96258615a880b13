"""One component: how it runs, why not otherwise, what it was before, what it was asked, and the ways to change that."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from uhlp.models.definition import HandlerType
from uhlp.prompts.overrides import PromptDescriptor
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.web.admin.apps import component_of, implementation
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import candidate_link, state_badge
from uhlp.web.panel.evolution_switch import pause_actions, pause_switch
from uhlp.web.panel.history import HOUR_S, switch_charts
from uhlp.web.panel.markup import Markup, Question, badge, empty, facts, join, link, mono, table, tag, tile, tiles, when
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.pages.waiting import question_card
from uhlp.web.panel.prices import unpriced_calls
from uhlp.web.panel.samples_list import adjudicate_sample_action, samples_list
from uhlp.web.panel.shared_read import SharedRead
from uhlp.web.panel.versions_list import source, version_action, versions_list
from uhlp.web.panel.waiting_list import adjudicate_action


async def component_page(visit: Visit, app_id: str, component_id: str) -> Page:
    services = visit.services
    component_of(services.registry.snapshot(app_id), component_id)
    reasons = SharedRead(lambda: services.evolution.why(app_id, component_id), clock=services.clock)

    async def about() -> Markup:
        return await _about(visit, app_id, component_id)

    async def why() -> Markup:
        return _why(await reasons())

    async def rules() -> Markup:
        return _rules((await reasons()).get("rules", ()))

    async def switch() -> Markup:
        listed = await services.versions.listed(app_id, component_id)
        return switch_charts(services, app_id, component_id, listed["versions"])

    async def versions() -> Markup:
        return await versions_list(visit, app_id, component_id)

    async def code() -> Markup:
        return await source(services, app_id, component_id)

    async def questions() -> Markup:
        found = (await services.evolution.adjudications(app_id, component_id))["questions"]
        if not found:
            return empty("No question is open.")
        return join(question_card(visit, app_id, component_id, one) for one in found[:20])

    async def samples() -> Markup:
        return await samples_list(visit, app_id, component_id)

    return Page(
        title=component_id,
        place="Overview",
        trail=(("Overview", addresses.OVERVIEW), (app_id, addresses.application(app_id))),
        sections=(
            Section(name="About", draw=about, is_plain=True),
            Section(name="Why it runs as it does", draw=why, every_s=3),
            Section(name="Rules, and whether they hold now", draw=rules, every_s=3),
            Section(name="Across the switch", draw=switch, every_s=5),
            Section(name="Versions", draw=versions, every_s=5),
            Section(name="What runs now", draw=code, every_s=10),
            Section(name="Questions: what is right?", draw=questions, every_s=5),
            Section(name="Samples", draw=samples, every_s=10),
        ),
        actions={
            **pause_actions(visit, app_id, component_id),
            "optimize": _optimize_action(visit, app_id, component_id),
            "return-to": version_action(visit, app_id, component_id),
            "adjudicate": adjudicate_action(visit),
            "adjudicate-sample": adjudicate_sample_action(visit, app_id),
        },
    )


def _optimize_action(visit: Visit, app_id: str, component_id: str) -> Action:
    async def optimize(fields: Fields) -> str:
        candidate_id = await visit.services.evolution.optimize(
            app_id,
            component_id,
            action=fields.get("kind", ""),
            actor=visit.actor,
            reason=fields.get("reason", ""),
        )
        return f"Candidate {candidate_id} is on its way."

    return Action(requests.OPTIMIZE, optimize)


async def _about(visit: Visit, app_id: str, component_id: str) -> Markup:
    services = visit.services
    component = component_of(services.registry.snapshot(app_id), component_id)
    definition = component.definition
    window = services.windows.window(app_id, component_id, HOUR_S)
    present = services.windows.window(app_id, component_id, HOUR_S, definition.handler_type.lower())
    shown = window.as_dict()
    tokens = shown["tokensIn"] + shown["tokensOut"]
    cost = partial(figures.cost, tokens=tokens, unpriced_calls=await unpriced_calls(services, app_id))
    candidates = (await services.evolution.candidates(app_id, component_id=component_id)).rows
    gave_back = ", ".join(f"{reason} {number:,}" for reason, number in sorted(shown["deoptimized"].items()))
    route = definition.route_matcher
    newest = candidates[0] if candidates else None
    return join(
        [
            tag("p", definition.description, class_="lead") if definition.description else None,
            tiles(
                tile("Runs as", state_badge(definition.handler_type), mono(implementation(component))),
                tile("Requests", figures.count(window.count), "in the last hour"),
                tile(
                    "p50",
                    figures.milliseconds(present.value("p50", "latency_ms")),
                    f"p95 {figures.milliseconds(present.value('p95', 'latency_ms'))}, of what runs now",
                ),
                tile("Errors", figures.share(window.value("rate", "errors"), 1), "in the last hour"),
                tile(
                    "Given back to the model",
                    figures.count(sum(shown["deoptimized"].values())),
                    gave_back or "nothing in the last hour",
                ),
                tile(
                    "Cost of a request",
                    cost(window.value("avg", "cost_usd")),
                    f"{cost(shown['costUsd'])} in the last hour" if window.count else "nothing in the last hour",
                ),
            ),
            tag(
                "div",
                pause_switch(visit, await services.evolution.overview(), app_id, component_id),
                tag("div", *_start_buttons(visit, component_id), class_="buttons"),
                class_="row",
            ),
            facts(
                [
                    ("Route", mono(f"{' '.join(route.methods)} {route.path_pattern}") if route else "none"),
                    (
                        "Newest candidate",
                        tag("span", candidate_link(newest), " ", state_badge(newest["state"]))
                        if newest
                        else "none yet",
                    ),
                    (
                        "Optimisation",
                        f"{definition.optimization.mode}, {definition.optimization.trust}, "
                        f"at most {definition.optimization.epsilon * 100:g} % wrong",
                    ),
                    (
                        "Golden examples",
                        join(
                            [
                                f"{len(component.golden):,}; ",
                                link("evaluations", addresses.evaluations(app_id, component=component_id)),
                            ]
                        ),
                    ),
                    *_leads_to(app_id, component),
                ]
            ),
        ]
    )


def _leads_to(app_id: str, component: ComponentSnapshot) -> list[tuple[str, Markup]]:
    """The pages of what it consists of: its prompt, or the runs of its workflow."""
    component_id, found = component.definition.component_id, []
    if component.prompt is not None:
        name = PromptDescriptor.of(app_id, component.prompt).key
        found.append(("Prompt", link(name, addresses.prompt(app_id, name))))
    if component.definition.handler_type is HandlerType.WORKFLOW:
        found.append(("Workflow", link("its runs", addresses.workflows(app=app_id, component=component_id))))
    return found


def _start_buttons(visit: Visit, component_id: str) -> list[Markup]:
    """What the server offers to start by hand."""
    told = {
        "jit": (
            "Optimise",
            f"Make a handler for {component_id}",
            "A candidate starts without waiting for a rule. Tests, replay, shadow and canary are not skipped.",
        ),
        "compress": (
            "Compress the prompt",
            f"Shorten the prompt of {component_id}",
            "A shorter prompt is proposed and held against the present one.",
        ),
    }
    return [
        visit.button(
            requests.OPTIMIZE, told[kind][0], "optimize", {"kind": kind}, asks=Question(told[kind][1], told[kind][2])
        )
        for kind in visit.services.evolution.offered_actions()
        if kind in told
    ]


def _why(told: Mapping[str, Any]) -> Markup:
    lines = tag("ul", *(tag("li", line) for line in told["lines"]), class_="sentences")
    if not told["missing"]:
        return lines if told["lines"] else empty("Nothing is missing.")
    rows = []
    for one in told["missing"]:
        done = min(1.0, one["have"] / one["need"]) if one["need"] else 1.0
        bar = tag("span", tag("span", "", style=f"width:{done * 100:.0f}%"), class_="progress")
        when_done = when(one["expectedAt"], "nothing arrives now")
        rows.append([one["what"], join([bar, f"{one['have']:,} of {one['need']:,}"]), when_done])
    return lines + table("What is missing", ["Missing", "So far", "Expected"], rows)


def _rules(rules: Sequence[Mapping[str, Any]]) -> Markup:
    if not rules:
        return empty("It has no rule.", "Without one it is started by hand.")
    holds = {True: badge("holds", "good"), False: badge("does not hold"), None: badge("no data yet")}
    rows = [
        [
            join([one["description"], tag("div", mono(one["expression"])), _values(one)]),
            holds[one["holds"]],
            figures.words(str(one["action"]).removeprefix("ACTION_").lower()),
            figures.count(one["heldWindows"]),
        ]
        for one in rules
    ]
    return table("Rules", ["Rule", "Now", "Starts", "Windows in a row"], rows, numeric=["Windows in a row"])


def _values(rule: Mapping[str, Any]) -> Markup | None:
    """What the rule's expression reads now, where the server says so."""
    values = rule.get("values")
    if not isinstance(values, Mapping) or not values:
        return None
    told = ", ".join(f"{name} = {_value(value)}" for name, value in values.items())
    return tag("div", f"now {told}", class_="quiet")


def _value(value: Any) -> str:
    return figures.DASH if value is None else f"{value:,.4g}" if isinstance(value, int | float) else str(value)
