"""Assignment check: does routing give the candidate the share of units that the canary step says?"""

from collections.abc import Mapping
from math import inf, log
from typing import Any, Self


class AssignmentCheck:
    """Beta-binomial e-process on the arm counts of one canary step. H0: a unit is the candidate's with probability w.

        E = B(a + k, b + n - k) / (B(a, b) w^k (1 - w)^(n - k)),   a = w / m, b = (1 - w) / m, m = min(w, 1 - w)

    after k of n units. It is the prediction of a Beta(a, b) prior (mean w, one pseudo-unit in the rarer arm) against w,
    step by step, so E[factor | past] = 1 under H0 and by Ville P(E ever reaches 1 / alpha) <= alpha: two-sided, valid
    at every look (Robbins 1970; Lindon and Malek, "Anytime-valid inference for multinomial count data", 2022).
    `log_e` counts as evidence of a routing bug; while there is a mismatch the step is held and its share tests mean
    nothing. Begin a new one with every step: an old step's units say nothing about the new weight, and a mismatch that
    was repaired must not follow. alpha is one in ten thousand and not more, because a false hold waits for a person and
    there is one check a step; a routing bug is seen by a third later than at one in a thousand. At w = 1 a single unit
    of the baseline's is a mismatch.

    A unit is what routing hashes (session, user or input) and counts once, when it is assigned: counted when answered,
    the faster arm would be ahead.
    """

    def __init__(self, weight: float, *, alpha: float = 0.0001) -> None:
        if not (0 < weight <= 1 and 0 < alpha < 1):
            raise ValueError(f"no assignment check with weight {weight!r}, alpha {alpha!r}")
        self.weight, self.alpha = weight, alpha
        self.candidate = 0
        self.baseline = 0
        self.log_e = 0.0
        self.has_mismatch = False

    def observe(self, *, is_candidate: bool) -> bool:
        """Count one unit, O(1); True from the mismatch on."""
        expected = self.weight if is_candidate else 1 - self.weight
        if expected == 0:
            self.log_e = inf
        elif self.weight < 1:
            self.log_e += log(self._predicted(is_candidate) / expected)
        self.candidate += is_candidate
        self.baseline += not is_candidate
        self.has_mismatch = self.has_mismatch or self.log_e >= self.log_threshold
        return self.has_mismatch

    def _predicted(self, is_candidate: bool) -> float:
        rarer = min(self.weight, 1 - self.weight)
        prior, seen = (self.weight, self.candidate) if is_candidate else (1 - self.weight, self.baseline)
        return (prior / rarer + seen) / (1 / rarer + self.n)

    @property
    def n(self) -> int:
        return self.candidate + self.baseline

    @property
    def log_threshold(self) -> float:
        return -log(self.alpha)

    def describe(self) -> str:
        """The finding as a sentence: "the candidate got 92 of 1000 at a weight of 5 % (50 expected)"."""
        expected = self.n * self.weight
        got = f"{self.candidate} of {self.n}"
        return f"the candidate got {got} at a weight of {self.weight * 100:g} % ({expected:.0f} expected)"

    def summary(self) -> dict[str, Any]:
        """The figures for ledger, panel and REST."""
        return {
            "weight": self.weight,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "logE": None if self.log_e == inf else self.log_e,
            "threshold": self.log_threshold,
            "mismatch": self.has_mismatch,
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {
            "weight": self.weight,
            "alpha": self.alpha,
            "candidate": self.candidate,
            "baseline": self.baseline,
            "log_e": None if self.log_e == inf else self.log_e,
            "has_mismatch": self.has_mismatch,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The check that `to_dict` described."""
        check = cls(float(state["weight"]), alpha=float(state["alpha"]))
        check.candidate, check.baseline = int(state["candidate"]), int(state["baseline"])
        check.log_e = inf if state["log_e"] is None else float(state["log_e"])
        check.has_mismatch = bool(state["has_mismatch"])
        return check
