"""What people may decide about a candidate in its state."""

from collections.abc import Mapping
from typing import Any

from uhlp.evolution.candidate import OPEN, SERVING
from uhlp.web.panel import figures, requests
from uhlp.web.panel.candidate_marks import waits_for_approval
from uhlp.web.panel.markup import Markup, Question
from uhlp.web.panel.page import Action, Fields, Visit

_TOLD: Mapping[str, tuple[str, str]] = {
    "approve": ("Approve", "It goes on; no test and no gate is skipped."),
    "reject": ("Reject", "It ends here. Its code is barred; a rule may try again later."),
    "pause": (
        "Pause",
        "It advances no further until it is resumed. What it serves it goes on serving; alarms stay on.",
    ),
    "resume": ("Resume", "It advances again."),
    "rollback": ("Roll back", "The model answers again at once. The code is barred."),
    "promote-full": ("Promote now", "The remaining canary steps are skipped. Its bound is proven; alarms stay on."),
    "quarantine": ("Quarantine", "The component stays on the model until its specification changes or this is lifted."),
    "clear-quarantine": ("Lift the quarantine", "A next candidate may be proposed."),
}


def decide_action(visit: Visit, candidate_id: str) -> Action:
    async def decide(fields: Fields) -> str:
        told = await visit.services.evolution.act(
            candidate_id, fields.get("verb", ""), actor=visit.actor, reason=fields.get("reason", "")
        )
        return f"The candidate is {figures.words(told['state'])}{', paused' if told.get('paused') else ''}."

    return Action(requests.DECIDE, decide)


def decisions(told: Mapping[str, Any]) -> list[str]:
    """The decisions that its state allows, the expected one first."""
    state, account = told["state"], told.get("account") or {}
    allowed = []
    if waits_for_approval(told):
        allowed.append("approve")
    if state == "canary" and account.get("verdict") == "accept":
        allowed.append("promote-full")
    if state in OPEN or state == "promoted":
        allowed.append("resume" if told["paused"] else "pause")
    if state in SERVING:
        allowed.append("rollback")
    elif state in OPEN:
        allowed.append("reject")
    allowed += ["clear-quarantine"] if state == "quarantined" else ["quarantine"] if state in OPEN | SERVING else []
    return allowed


def decision_buttons(visit: Visit, told: Mapping[str, Any]) -> list[Markup]:
    tones = {"approve": "strong", "rollback": "danger", "reject": "danger", "quarantine": "danger"}
    return [
        visit.button(
            requests.DECIDE,
            _TOLD[verb][0],
            "decide",
            {"verb": verb},
            tone=tones.get(verb, ""),
            asks=Question(f"{_TOLD[verb][0]}: {told['componentId']}", _TOLD[verb][1]),
        )
        for verb in decisions(told)
    ]
