"""Share tests over a number (latency, cost): bad is what exceeds a threshold frozen before the canary."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from uhlp.evolution.statistics.share_test import ShareTest


class ExceedanceShare:
    """Share test on values above `threshold`, the candidate's only above (1 + `tolerance`) times it; rho = 1.

    H0: P(candidate's value > (1 + tolerance) threshold) <= P(baseline's value > threshold), both measured side by side
    in the canary. So a candidate that is everywhere at most `tolerance` larger is inside H0, whatever the distribution.
    """

    def __init__(
        self, threshold: float, *, tolerance: float = 0.05, alpha: float = 0.01, steps: int = 3, min_bad: int = 3
    ) -> None:
        if not (threshold >= 0 and tolerance >= 0):
            raise ValueError(f"threshold and tolerance are not negative: {threshold!r}, {tolerance!r}")
        self.threshold, self.tolerance = threshold, tolerance
        self.test = ShareTest(alpha=alpha, rho=1.0, steps=steps, min_bad=min_bad)

    def observe(self, value: float, *, is_candidate: bool, weight: float) -> bool:
        """Take one request's value (NaN is no measurement and changes nothing); True from the alarm on."""
        if value > (self.threshold * (1 + self.tolerance) if is_candidate else self.threshold):
            return self.test.observe_bad(is_candidate=is_candidate, weight=weight)
        return self.test.is_alarmed

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {"threshold": self.threshold, "tolerance": self.tolerance, "test": self.test.to_dict()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The test that `to_dict` described."""
        share = cls(float(state["threshold"]), tolerance=float(state["tolerance"]))
        share.test = ShareTest.from_dict(state["test"])
        return share


class LatencyShares:
    """Is the candidate slower? Two exceedance tests, at the baseline's frozen p50 and p95, each at half of `alpha`.

    The p50 sees that everything has become slower, the p95 that the tail has. Both thresholds come from the best
    audited baseline, so that five small losses cannot add up. Latencies in milliseconds, of whole requests.
    """

    def __init__(
        self, *, p50_ms: float, p95_ms: float, tolerance: float = 0.05, alpha: float = 0.005, steps: int = 3
    ) -> None:
        if not p50_ms <= p95_ms:
            raise ValueError(f"the p95 ({p95_ms!r}) is not below the p50 ({p50_ms!r})")
        self.p50 = ExceedanceShare(p50_ms, tolerance=tolerance, alpha=alpha / 2, steps=steps)
        self.p95 = ExceedanceShare(p95_ms, tolerance=tolerance, alpha=alpha / 2, steps=steps)

    def observe(self, latency_ms: float, *, is_candidate: bool, weight: float) -> Literal["p50", "p95"] | None:
        """Take one request; which test has alarmed, if any."""
        p50 = self.p50.observe(latency_ms, is_candidate=is_candidate, weight=weight)
        p95 = self.p95.observe(latency_ms, is_candidate=is_candidate, weight=weight)
        return "p50" if p50 else "p95" if p95 else None

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {"p50": self.p50.to_dict(), "p95": self.p95.to_dict()}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The tests that `to_dict` described."""
        p50, p95 = ExceedanceShare.from_dict(state["p50"]), ExceedanceShare.from_dict(state["p95"])
        shares = cls(p50_ms=p50.threshold, p95_ms=p95.threshold)
        shares.p50, shares.p95 = p50, p95
        return shares
