"""Share tests: does the candidate's arm of a canary get more than its share of what goes wrong?

Only bad events count. A request went to the candidate with the probability w in force when it was assigned; if the
arms are equally good, a bad event is the candidate's with probability w. If the candidate may be rho times as bad,

    p0 = w rho / (w rho + 1 - w),   p_t the same with rho t,   t in {1.5, 2, 4, 8, 16, 64}

and S = mean over t of the product over bad events of (p_t / p0 in the candidate's arm, (1 - p_t) / (1 - p0) in the
other) is an e-process: given the past, each factor has mean at most 1 for any true share up to p0 (it is linear in the
share, and 1 at p0), so by Ville's inequality P(S ever reaches 1 / alpha) <= alpha, however often one looks. This is
Wald's sequential likelihood ratio (1945), mixed over alternatives (Robbins 1970). Means of latencies are never
compared: they reject identical code. "Bad" may be any fixed rule, so a frozen threshold need not be exact.

When w rises between steps: each factor uses the p0 of the weight by which that very request was assigned. That weight
was known before the event, so the product over all steps stays an e-process and evidence is carried on: nothing is
thrown away, no step has a level of its own. But a candidate that was good at 5 % would carry so large a debit that
trouble which load brings at 50 % could not show. So the money is laid out beforehand in `steps` equal parts, and part i
bets only on requests of step i and later (not betting is a bet, at factor 1). The sum of the parts is an e-process
again; the price is a threshold `steps` times as high, log 3 = 1.1 on top of log(1 / alpha). With steps = 1 it is S.
"""

from collections.abc import Mapping
from functools import lru_cache
from math import log
from typing import Any, Self

from uhlp.evolution.statistics.betting import log_sum_exp

RATIOS = (1.5, 2.0, 4.0, 8.0, 16.0, 64.0)
"""How many times worse the candidate is under the alternatives; a smaller difference is tolerated."""


class ShareTest:
    """One share test over one kind of bad event; the alarm is sticky. The state is counts, so a person can check it.

    `observe_bad` is O(1). `rho`: the tolerated ratio of the rates. `min_bad`: so many bad events in the candidate's arm
    before anything is said.
    """

    def __init__(self, *, alpha: float = 0.01, rho: float = 1.05, steps: int = 3, min_bad: int = 3) -> None:
        if not (0 < alpha < 1 and rho > 0 and steps >= 1 and min_bad >= 1):
            raise ValueError(f"no share test with alpha {alpha!r}, rho {rho!r}, steps {steps!r}, min_bad {min_bad!r}")
        self.alpha, self.rho, self.steps, self.min_bad = alpha, rho, steps, min_bad
        self.is_alarmed = False
        self._bad: dict[float, list[int]] = {}  # weight, in order of appearance: [baseline's, candidate's]

    def observe_bad(self, *, is_candidate: bool, weight: float) -> bool:
        """Take one bad event of a request assigned at `weight`, in (0, 1]; True from the alarm on.

        At weight 1 there is nothing to compare with: the event changes nothing.
        """
        if not 0 < weight <= 1:
            raise ValueError(f"a weight lies in (0, 1], not {weight!r}")
        if weight == 1:
            return self.is_alarmed
        self._bad.setdefault(weight, [0, 0])[is_candidate] += 1
        if is_candidate and not self.is_alarmed and self.bad_candidate >= self.min_bad:  # others only lower the money
            self.is_alarmed = self.log_e >= self.log_threshold
        return self.is_alarmed

    @property
    def bad_baseline(self) -> int:
        return sum(baseline for baseline, _ in self._bad.values())

    @property
    def bad_candidate(self) -> int:
        return sum(candidate for _, candidate in self._bad.values())

    @property
    def fair_share(self) -> float:
        """How many of the bad events would be the candidate's if it were exactly `rho` times as bad."""
        return sum(sum(bad) * _share(weight, self.rho) for weight, bad in self._bad.items())

    @property
    def log_threshold(self) -> float:
        return -log(self.alpha)

    @property
    def log_e(self) -> float:
        """Natural logarithm of the money: the mean of the parts, a part whose step has not come being worth 1."""
        logs: list[float] = []
        since = [0.0] * len(RATIOS)
        for index, (weight, (baseline, candidate)) in reversed(list(enumerate(self._bad.items()))):
            spared, hit = _log_factors(weight, self.rho)
            since = [sum_ + baseline * a + candidate * b for sum_, a, b in zip(since, spared, hit, strict=True)]
            if index < self.steps:
                logs.extend(since)
        logs.extend([0.0] * (self.steps * len(RATIOS) - len(logs)))
        return log_sum_exp(logs) - log(len(logs))

    def describe(self) -> str:
        """The finding as a sentence: "9 of 14 were the candidate's; its share of the traffic makes 0.7 of them"."""
        bad = self.bad_baseline + self.bad_candidate
        fair = f"its share of the traffic makes {self.fair_share:.1f} of them"
        return f"{self.bad_candidate} of {bad} were the candidate's; {fair}"

    def summary(self) -> dict[str, Any]:
        """The figures for ledger, panel and REST."""
        return {
            "badBaseline": self.bad_baseline,
            "badCandidate": self.bad_candidate,
            "fairShare": self.fair_share,
            "logE": self.log_e,
            "threshold": self.log_threshold,
            "alarm": self.is_alarmed,
        }

    def to_dict(self) -> dict[str, Any]:
        """The whole state, parameters included, as JSON values."""
        return {
            "alpha": self.alpha,
            "rho": self.rho,
            "steps": self.steps,
            "min_bad": self.min_bad,
            "is_alarmed": self.is_alarmed,
            "bad": [[weight, *bad] for weight, bad in self._bad.items()],
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Self:
        """The test that `to_dict` described."""
        test = cls(
            alpha=float(state["alpha"]),
            rho=float(state["rho"]),
            steps=int(state["steps"]),
            min_bad=int(state["min_bad"]),
        )
        test.is_alarmed = bool(state["is_alarmed"])
        test._bad = {float(weight): [int(baseline), int(candidate)] for weight, baseline, candidate in state["bad"]}
        return test


def _share(weight: float, ratio: float) -> float:
    """The candidate's share of bad events if it gets `weight` of the requests and is `ratio` times as bad."""
    return weight * ratio / (weight * ratio + 1 - weight)


@lru_cache(maxsize=64)
def _log_factors(weight: float, rho: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Logs of what a bad event multiplies the money on each ratio by: (baseline's event, candidate's event)."""
    p0 = _share(weight, rho)
    shares = [_share(weight, rho * ratio) for ratio in RATIOS]
    return tuple(log((1 - p) / (1 - p0)) for p in shares), tuple(log(p / p0) for p in shares)
