"""RuleWatch: since when each rule holds, and whether it may fire, or fire again.

Every cycle looks at each rule's window once. A rule fires when it was true in `hold` looks in a row; it then asks for
what it is for until a candidate has come of that, in every look in which it has held so long. It does not fire again
before it was false in `hold` looks in a row, or the candidate has ended: a condition that flaps starts nothing twice.
What is unknown is neither true nor false. A restart begins anew; candidates outlive it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uhlp.models.definition import OptimizationAction

RuleKey = tuple[str, str, int, str]
"""Application, component, place among the component's rules, expression."""


@dataclass(frozen=True, slots=True)
class RuleTruth:
    """One rule and what it says now; `holds` is None when that is unknown (never taken for true), with the reason.

    `values` are the numbers that it names. It has held in `held_windows` looks in a row, of the `hold` that it needs,
    the first of them at `since`; it fired at `fired_at` and may not fire again yet. Times are epoch seconds.
    """

    description: str
    expression: str
    action: OptimizationAction
    window_s: float
    hold: int
    holds: bool | None
    unknown_because: str | None
    values: Mapping[str, float | None]
    held_windows: int
    since: float | None
    fired_at: float | None

    def describe(self, now: float) -> str:
        """One sentence for people."""
        said = {True: "true", False: "false", None: f"unknown ({self.unknown_because})"}[self.holds]
        numbers = ", ".join(f"{name} = {_figure(value)}" for name, value in self.values.items())
        held = ""
        if self.since is not None:
            needed = f" of {self.hold} that it needs" if self.held_windows < self.hold else ""
            held = f"; it has held for {now - self.since:.0f} s, {self.held_windows} looks{needed}"
        return f"Rule `{self.expression}` is {said} now{f': {numbers}' if numbers else ''}{held}."

    def to_dict(self) -> dict[str, Any]:
        """JSON values, names in camelCase."""
        return {
            "description": self.description,
            "expression": self.expression,
            "action": self.action,
            "windowS": self.window_s,
            "hold": self.hold,
            "holds": self.holds,
            "unknownBecause": self.unknown_because,
            "values": dict(self.values),
            "heldWindows": self.held_windows,
            "since": self.since,
            "firedAt": self.fired_at,
        }


@dataclass(slots=True)
class Standing:
    """What is remembered of a rule from look to look."""

    true_looks: int = 0
    false_looks: int = 0
    since: float | None = None
    fired_at: float | None = None
    has_candidate: bool = False


class RuleWatch:
    """One instance an oracle; it forgets the rules that a cycle did not look at."""

    def __init__(self) -> None:
        self._standings: dict[RuleKey, Standing] = {}
        self._seen: set[RuleKey] = set()

    def standing(self, key: RuleKey) -> Standing:
        """How a rule stands since the last look."""
        return self._standings.get(key) or Standing()

    def look(self, key: RuleKey, holds: bool | None, *, hold: int, has_candidate: bool, now: float) -> bool:
        """Take in what the rule says now; whether it asks for what it is for."""
        self._seen.add(key)
        one = self._standings.setdefault(key, Standing())
        if holds:
            one.true_looks, one.false_looks = one.true_looks + 1, 0
            one.since = now if one.since is None else one.since
        else:
            one.true_looks, one.since = 0, None
            one.false_looks = one.false_looks + 1 if holds is False else 0
        if one.fired_at is not None:
            has_ended = one.has_candidate and not has_candidate
            one.has_candidate = has_candidate
            if has_ended or one.false_looks >= hold:
                one.fired_at, one.has_candidate = None, False
        if one.true_looks < hold:
            return False
        if one.fired_at is None:
            one.fired_at = now
            return True
        return not one.has_candidate

    def end_cycle(self) -> None:
        """Forget the rules that nobody looked at in this cycle."""
        self._standings = {key: one for key, one in self._standings.items() if key in self._seen}
        self._seen = set()


def _figure(value: float | None) -> str:
    return "no data" if value is None else f"{value:,.6g}"
