"""One candidate: how far it is, on what evidence, what it got wrong, its code, and the decisions people may take."""

from collections.abc import Mapping
from typing import Any

from uhlp.web.panel import addresses, figures
from uhlp.web.panel.candidate_code import code_parts
from uhlp.web.panel.candidate_decisions import decide_action, decision_buttons
from uhlp.web.panel.candidate_evidence import arms, classes, curve, mismatches
from uhlp.web.panel.candidate_marks import decision, state_badge
from uhlp.web.panel.markup import Markup, as_json, block, details, facts, join, link, mono, note, tag, tile, tiles, when
from uhlp.web.panel.page import Page, Section, Visit
from uhlp.web.panel.prices import unpriced_calls
from uhlp.web.panel.shared_read import SharedRead
from uhlp.web.panel.waiting_list import adjudicate_action

STAGES = ("discovered", "synthesized", "verified", "shadow", "canary", "promoted")


async def candidate_page(visit: Visit, candidate_id: str) -> Page:
    services = visit.services
    told_of = SharedRead(lambda: services.evolution.candidate(candidate_id), clock=services.clock)
    first = await told_of()

    async def about() -> Markup:
        told = await told_of()
        return _about(visit, told, await unpriced_calls(services, told["appId"]))

    async def evidence() -> Markup:
        told = await told_of()
        return join([curve(told), arms(told), classes(told)])

    async def wrong() -> Markup:
        return mismatches(visit, await told_of())

    async def code() -> Markup:
        return await code_parts(services, await told_of())

    async def timeline() -> Markup:
        return _timeline(await told_of())

    return Page(
        title=f"Candidate {candidate_id}",
        place="Candidates",
        trail=(
            ("Candidates", addresses.CANDIDATES),
            (first["appId"], addresses.application(first["appId"])),
            (first["componentId"], addresses.component(first["appId"], first["componentId"])),
        ),
        sections=(
            Section(name="About", draw=about, is_plain=True),
            Section(name="Evidence", draw=evidence, every_s=3),
            Section(name="What it got wrong", draw=wrong, every_s=5),
            Section(name="Code, tests and report", draw=code, every_s=5),
            Section(name="Timeline", draw=timeline, every_s=3),
        ),
        actions={"decide": decide_action(visit, candidate_id), "adjudicate": adjudicate_action(visit)},
    )


def _about(visit: Visit, told: Mapping[str, Any], unpriced: int | None) -> Markup:
    account = told.get("account") or {}
    lower, upper = account.get("interval") or (None, None)
    between = (
        f"likely {figures.share(lower, 1)} to {figures.share(upper, 1)}" if account.get("n") else "nothing compared yet"
    )
    worth = told.get("breakEven") or {}
    known = worth.get("measured") or worth.get("expected") or {}
    tokens = told["tokensIn"] + told["tokensOut"]
    cost = figures.cost(told["costUsd"], tokens=tokens, unpriced_calls=unpriced)
    return join(
        [
            _stages(told),
            tag("p", tag("strong", figures.words(told["state"]).capitalize()), ": ", told["reason"], class_="lead"),
            note("It is paused: it advances when somebody resumes it. Alarms stay on.", "warn")
            if told["paused"]
            else None,
            note(f"It is held: {told['holds']}.", "warn") if told.get("holds") else None,
            tag("div", *decision_buttons(visit, told), class_="buttons"),
            tiles(
                tile("Wrong, proven", figures.proven(told["proven"]), between),
                tile(
                    "Wrong of compared",
                    f"{told['k']:,} of {told['n']:,}",
                    f"{told['figures']['handler_right']:,} times the handler was right, not the model",
                ),
                tile("Coverage", figures.share(told["coverage"]), "of the inputs it answers itself"),
                tile("Agreement", figures.share(told["agreement"], 1), "of its answers that were compared"),
                tile("p50", figures.milliseconds(told["p50Ms"]), f"{told['executions']:,} executions for users"),
                tile("It cost", cost, f"{tokens:,} tokens"),
            ),
            facts(
                [
                    (
                        "Component",
                        link(
                            f"{told['appId']} / {told['componentId']}",
                            addresses.component(told["appId"], told["componentId"]),
                        ),
                    ),
                    ("Evidence", told["evidence"] or "none yet"),
                    ("Break-even", known.get("words") or "not known yet"),
                    ("Proposed by", f"{told['proposer'] or 'nobody yet'}, attempt {told['attempt']}"),
                    ("Trust", told["trust"]),
                    (
                        "Approval",
                        f"by {told['approvedBy']}"
                        if told["approvedBy"]
                        else "wanted"
                        if told["approvalRequired"]
                        else "not needed",
                    ),
                    (
                        "Code",
                        tag("span", mono(told["codeSha"][:12]), title=told["codeSha"])
                        if told["codeSha"]
                        else "none yet",
                    ),
                    ("Since", when(told["createdAt"])),
                ]
            ),
        ]
    )


def _stages(told: Mapping[str, Any]) -> Markup:
    """The way from discovered to promoted, and where it left it."""
    reached = {entry["to"] for entry in told["timeline"]}
    state = "verified" if told["state"] == "waiting" else told["state"]
    steps = [
        tag(
            "li",
            tag("span", stage),
            class_="here" if stage == state else "done" if stage in reached else None,
            aria_current="step" if stage == state else None,
        )
        for stage in STAGES
    ]
    if state not in STAGES:
        steps.append(tag("li", state_badge(told["state"]), class_="here left", aria_current="step"))
    return tag("ol", *steps, class_="stages", aria_label="Stages")


def _timeline(told: Mapping[str, Any]) -> Markup:
    entries = []
    for entry in reversed(told["timeline"]):
        evidence = dict(entry["evidence"])
        shown = (
            details(
                "Evidence at that moment",
                block(as_json(evidence), f"Evidence of entry {entry['seq']}"),
                key=f"entry-{entry['seq']}",
            )
            if evidence
            else None
        )
        head = tag(
            "div",
            tag("strong", decision(entry)),
            tag(
                "span",
                " ",
                when(entry["ts"]),
                f" by {entry['actor']}, ledger entry ",
                link(f"{entry['seq']:,}", addresses.ledger(after=entry["seq"] - 1)),
                class_="quiet",
            ),
        )
        entries.append(tag("li", head, tag("p", entry["reason"]), shown))
    return tag("ol", *entries, class_="timeline")
