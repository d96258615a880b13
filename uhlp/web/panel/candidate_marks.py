"""How candidates, applications, handlers and runs are marked, the same on every page."""

from collections.abc import Mapping
from typing import Any

from uhlp.evolution.candidate import OPEN
from uhlp.web.panel import addresses, figures
from uhlp.web.panel.markup import Markup, badge, link

_TONES: Mapping[str, str] = {
    "promoted": "good",
    "canary": "live",
    "shadow": "live",
    "rejected": "bad",
    "rolled_back": "bad",
    "quarantined": "bad",
    "inconclusive": "warn",
    "ACTIVE": "good",
    "DEGRADED": "warn",
    "ERROR": "bad",
    "JIT": "good",
    "WORKFLOW": "live",
    "succeeded": "good",
    "failed": "bad",
    "running": "live",
    "retrying": "warn",
    "interrupted": "warn",
    "done": "good",
    "accepted": "good",
    "shorter": "good",
    "regressed": "bad",
    "critical": "bad",
    "warning": "warn",
}


def state_badge(state: str) -> Markup:
    """The state of a candidate, a run or an evaluation, an application's status, a handler type or a severity."""
    return badge(figures.words(state) if state.islower() else state, _TONES.get(state, ""))


def candidate_link(row: Mapping[str, Any]) -> Markup:
    """A candidate by its id, which leads to its page."""
    return link(row["candidateId"], addresses.candidate(row["candidateId"]), class_="id")


def decision(entry: Mapping[str, Any]) -> str:
    """What a ledger entry decided, in a few words."""
    before, after = entry.get("from"), entry.get("to")
    if after and before != after:
        return f"{figures.words(before)} \u2192 {figures.words(after)}" if before else figures.words(after)
    return "next canary step" if entry["event"] == "moved" else figures.words(entry["event"])


def waits_for_approval(row: Mapping[str, Any]) -> bool:
    return bool(row.get("approvalRequired")) and row.get("approvedBy") is None and row["state"] in OPEN
