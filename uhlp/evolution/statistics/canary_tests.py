"""All tests of one canary: errors, latency, cost and assignment, fed by requests as they are assigned and finished."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from uhlp.evolution.statistics.assignment_check import AssignmentCheck
from uhlp.evolution.statistics.exceedance import ExceedanceShare, LatencyShares
from uhlp.evolution.statistics.first_sights import FirstSights
from uhlp.evolution.statistics.share_test import ShareTest

_FAMILY = 4  # errors, p50, p95, cost
_MOST_PENDING = 10_000


class CanaryAlarm(StrEnum):
    """Which share test says that the candidate is worse."""

    ERRORS = "errors"
    LATENCY_P50 = "latency_p50"
    LATENCY_P95 = "latency_p95"
    COST = "cost"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request, whoever answered it in the end.

    `latency_ms` is what the user waited, a fallback to the model included; None where it is not known.
    """

    failed: bool
    latency_ms: float | None = None
    cost_usd: float | None = None


@dataclass(slots=True, eq=False)
class Assigned:
    """A unit's first request on its way: `assign` gives it, `finish` takes it back."""

    is_candidate: bool
    weight: float
    outcome: Outcome | None = None
    is_done: bool = False


class CanaryTests:
    """Four share tests, each at a quarter of `alpha`, and the assignment check of the present step.

    One whole canary of a candidate that is no worse is rolled back with probability at most `alpha`: each test is valid
    over all steps together (see `share_test`), and the errors of four tests add up to no more (Bonferroni).

    The proofs rest on three things, which this class takes care of:
    * an arm is drawn anew: only the first request of each unit counts, once a canary (`first_sights`);
    * the arm is the assigned one, whoever answers: a deoptimised request is the candidate's, with its whole latency;
    * events enter in the order of assignment: `finish` keeps an outcome until all earlier requests are done. Entered as
      they finish, a fast handler's failures would all come before a slow model's.

    Thresholds are the baseline's, frozen before the canary: p50 and p95 of latency in milliseconds, median cost in USD
    (0 for a free model: then any cost is too much). None where there are none: that test stays silent. O(1) per event.
    The first alarm stays. A restart loses the requests on their way, in both arms alike, and nothing else.
    """

    def __init__(
        self,
        *,
        p50_ms: float | None = None,
        p95_ms: float | None = None,
        cost_usd: float | None = None,
        alpha: float = 0.01,
        rho: float = 1.05,
        tolerance: float = 0.05,
        steps: int = 3,
    ) -> None:
        each = alpha / _FAMILY
        self.errors = ShareTest(alpha=each, rho=rho, steps=steps)
        self.latency: LatencyShares | None = None
        if p50_ms is not None and p95_ms is not None:
            self.latency = LatencyShares(p50_ms=p50_ms, p95_ms=p95_ms, tolerance=tolerance, alpha=2 * each, steps=steps)
        self.cost: ExceedanceShare | None = None
        if cost_usd is not None:
            self.cost = ExceedanceShare(cost_usd, tolerance=tolerance, alpha=each, steps=steps)
        self.assignment: AssignmentCheck | None = None
        self.alarm: CanaryAlarm | None = None
        self._seen = FirstSights()
        self._pending: deque[Assigned] = deque()

    def begin_step(self, weight: float) -> None:
        """Start the assignment check anew; `assign` does it by itself when the weight has changed."""
        self.assignment = AssignmentCheck(weight)

    def assign(self, unit: str, *, is_candidate: bool, weight: float) -> Assigned | None:
        """Routing gave this request its arm, at `weight`. None for a unit that was seen before: it does not count,
        and `finish` ignores it.

        `unit` is the key that routing hashed. Every `Assigned` must go to `finish`, or those after it wait
        (until 10,000 do: then the oldest counts as lost).
        """
        if self.assignment is None or self.assignment.weight != weight:
            self.begin_step(weight)
        if not self._seen.is_first(unit):
            return None
        if self.assignment is not None:
            self.assignment.observe(is_candidate=is_candidate)
        assigned = Assigned(is_candidate, weight)
        self._pending.append(assigned)
        if len(self._pending) > _MOST_PENDING:
            self.finish(self._pending[0], None)
        return assigned

    def finish(self, assigned: Assigned | None, outcome: Outcome | None) -> CanaryAlarm | None:
        """The request is over; None if nobody knows how (the client left). Returns the alarm, if any so far."""
        if assigned is not None and not assigned.is_done:
            assigned.outcome, assigned.is_done = outcome, True
        while self._pending and self._pending[0].is_done:
            self._enter(self._pending.popleft())
        return self.alarm

    def _enter(self, done: Assigned) -> None:
        outcome = done.outcome
        if outcome is None:
            return
        alarm: CanaryAlarm | None = None
        is_candidate, weight = done.is_candidate, done.weight
        if self.cost is not None and outcome.cost_usd is not None:
            is_dearer = self.cost.observe(outcome.cost_usd, is_candidate=is_candidate, weight=weight)
            alarm = CanaryAlarm.COST if is_dearer else None
        if self.latency is not None and outcome.latency_ms is not None:
            slower = self.latency.observe(outcome.latency_ms, is_candidate=is_candidate, weight=weight)
            if slower is not None:
                alarm = CanaryAlarm.LATENCY_P50 if slower == "p50" else CanaryAlarm.LATENCY_P95
        if outcome.failed and self.errors.observe_bad(is_candidate=is_candidate, weight=weight):
            alarm = CanaryAlarm.ERRORS
        self.alarm = self.alarm or alarm

    @property
    def has_mismatch(self) -> bool:
        """Whether routing does not keep the weight of this step: hold, it is not the candidate's fault."""
        return self.assignment is not None and self.assignment.has_mismatch

    @property
    def tests(self) -> dict[CanaryAlarm, ShareTest]:
        """The share tests that can speak."""
        tests = {CanaryAlarm.ERRORS: self.errors}
        if self.latency is not None:
            tests[CanaryAlarm.LATENCY_P50] = self.latency.p50.test
            tests[CanaryAlarm.LATENCY_P95] = self.latency.p95.test
        if self.cost is not None:
            tests[CanaryAlarm.COST] = self.cost.test
        return tests

    def describe(self) -> str:
        """The reason for a rollback as a sentence."""
        if self.alarm is None:
            return "the candidate's arm has no more than its share of failures, slow and dear answers"
        return f"the candidate is worse in {self._bad_events(self.alarm)}: {self.tests[self.alarm].describe()}"

    def _bad_events(self, alarm: CanaryAlarm) -> str:
        if alarm is CanaryAlarm.LATENCY_P50 and self.latency is not None:
            return f"latency: of the answers slower than the median of {self.latency.p50.threshold:.4g} ms"
        if alarm is CanaryAlarm.LATENCY_P95 and self.latency is not None:
            return f"latency: of the answers slower than the p95 of {self.latency.p95.threshold:.4g} ms"
        if alarm is CanaryAlarm.COST and self.cost is not None:
            return f"cost: of the answers dearer than {self.cost.threshold:.3g} USD"
        return "errors: of the requests that failed"

    def summary(self) -> dict[str, Any]:
        """The figures for ledger, panel and REST."""
        return {
            "alarm": self.alarm,
            "assignment": self.assignment.summary() if self.assignment else None,
            **{str(name): test.summary() for name, test in self.tests.items()},
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included and requests on their way left out, as JSON values."""
        return {
            "alarm": self.alarm,
            "errors": self.errors.to_dict(),
            "latency": self.latency.to_dict() if self.latency else None,
            "cost": self.cost.to_dict() if self.cost else None,
            "assignment": self.assignment.to_dict() if self.assignment else None,
            "seen": self._seen.to_dict(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The tests that `to_dict` described."""
        tests = cls()
        tests.alarm = CanaryAlarm(state["alarm"]) if state["alarm"] else None
        tests.errors = ShareTest.from_dict(state["errors"])
        tests.latency = LatencyShares.from_dict(state["latency"]) if state["latency"] else None
        tests.cost = ExceedanceShare.from_dict(state["cost"]) if state["cost"] else None
        tests.assignment = AssignmentCheck.from_dict(state["assignment"]) if state["assignment"] else None
        tests._seen = FirstSights.from_dict(state["seen"])
        return tests
