"""What waits for people: recommendations to start, candidates to approve, questions to answer."""

from collections.abc import Mapping
from typing import Any

from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.candidate_marks import candidate_link, state_badge
from uhlp.web.panel.markup import Markup, Question, empty, facts, join, link, mono, tag, when
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.waiting_list import adjudicate_action, open_questions, side_by_side, verdict_buttons


async def waiting_page(visit: Visit) -> Page:
    evolution, actor = visit.services.evolution, visit.actor

    async def decide(fields: Fields) -> str:
        verb = "reject" if fields.get("verb") == "reject" else "approve"
        told = await evolution.act(fields.get("candidate", ""), verb, actor=actor, reason=fields.get("reason", ""))
        return f"Candidate {told['candidateId']}: {'rejected' if verb == 'reject' else 'approved'}."

    async def optimize(fields: Fields) -> str:
        candidate_id = await evolution.optimize(
            fields.get("app", ""),
            fields.get("component", ""),
            action="jit",
            actor=actor,
            reason=fields.get("reason", ""),
        )
        return f"Candidate {candidate_id} is on its way."

    async def recommendations() -> Markup:
        return await _recommendations(visit)

    async def approvals() -> Markup:
        return await _approvals(visit)

    async def questions() -> Markup:
        return await _questions(visit)

    return Page(
        title="Waiting for people",
        place="Waiting",
        sections=(
            Section(name="Recommendations", draw=recommendations, every_s=3),
            Section(name="Candidates that wait for approval", draw=approvals),
            Section(name="Questions: what is right?", draw=questions, every_s=3),
        ),
        actions={
            "decide": Action(requests.DECIDE, decide),
            "optimize": Action(requests.OPTIMIZE, optimize),
            "adjudicate": adjudicate_action(visit),
        },
    )


async def _recommendations(visit: Visit) -> Markup:
    found = await visit.services.evolution.recommendations()
    if not found:
        return empty("No rule asks for anything.", "A component in recommend mode asks here when its rule fires.")
    return join(_recommendation(visit, one) for one in found)


def _recommendation(visit: Visit, one: Mapping[str, Any]) -> Markup:
    expected, rule = one.get("expected") or {}, one.get("rule") or {}
    app_id, component_id = one["appId"], one["componentId"]
    if one["candidateId"]:
        buttons = approve_buttons(visit, one["candidateId"])
    else:
        question = Question(
            f"Start compiling {component_id}", "Verification is not skipped.", reason=str(one["reason"])[:500]
        )
        fields = {"app": app_id, "component": component_id}
        buttons = visit.button(requests.OPTIMIZE, "Start compiling", "optimize", fields, tone="strong", asks=question)
    return tag(
        "article",
        tag(
            "h3",
            link(f"{app_id} / {component_id}", addresses.component(app_id, component_id)),
            " ",
            state_badge(one["status"]),
        ),
        tag("p", one["reason"]),
        facts(
            [
                ("Expected", expected.get("words") or "no estimate yet"),
                ("Saving in 30 days", figures.usd(expected.get("horizonSavingUsd"))),
                ("Pays after", figures.DASH if expected.get("calls") is None else f"{expected['calls']:,} calls"),
                ("Rule", mono(rule["expression"]) if rule.get("expression") else "none"),
                ("Since", when(one.get("since"))),
            ]
        ),
        tag("div", buttons, class_="buttons"),
        class_="card",
    )


def approve_buttons(visit: Visit, candidate_id: str) -> Markup:
    """Approve or reject a candidate, for whoever may."""
    fields = {"candidate": candidate_id}
    approve = Question("Approve", "It goes on; no test and no gate is skipped.")
    reject = Question("Reject", "It ends here. A rule may try again later.")
    return join(
        [
            visit.button(
                requests.DECIDE, "Approve", "decide", {**fields, "verb": "approve"}, tone="strong", asks=approve
            ),
            visit.button(requests.DECIDE, "Reject", "decide", {**fields, "verb": "reject"}, asks=reject),
        ]
    )


async def _approvals(visit: Visit) -> Markup:
    found = await visit.services.evolution.waiting()
    if not found:
        return empty("No candidate waits for approval.")
    return join(
        tag(
            "article",
            tag("h3", candidate_link(one), " ", state_badge(one["state"])),
            tag(
                "p",
                link(f"{one['appId']} / {one['componentId']}", addresses.component(one["appId"], one["componentId"])),
                ": ",
                one["reason"],
            ),
            tag("div", approve_buttons(visit, one["candidateId"]), class_="buttons"),
            class_="card",
        )
        for one in found
    )


async def _questions(visit: Visit) -> Markup:
    found = await open_questions(visit.services)
    if not found:
        return empty("No question is open.", "Where model calls disagree and no judge decides, people are asked here.")
    return join(
        question_card(visit, app_id, component_id, one)
        for app_id, component_id, questions in found
        for one in questions[:20]
    )


def question_card(visit: Visit, app_id: str, component_id: str, one: Mapping[str, Any]) -> Markup:
    """An input whose right answer nobody knows, with the answers that were given."""
    fields = {"app": app_id, "component": component_id, "hash": str(one["input_hash"])}
    distinct: list[Any] = []
    for answer in one["answers"]:
        if answer not in distinct:
            distinct.append(answer)
    answers = [("The handler", one["got"])] if one["got"] is not None else []
    answers += [(f"Model answer {place}", answer) for place, answer in enumerate(distinct, start=1)]
    return tag(
        "article",
        tag("h3", link(f"{app_id} / {component_id}", addresses.component(app_id, component_id))),
        side_by_side([("Input", one["input"]), *answers], str(one["input_hash"])[:12]),
        verdict_buttons(visit, fields, answers),
        class_="card",
    )
