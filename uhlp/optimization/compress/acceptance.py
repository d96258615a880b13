"""Acceptance: whether one arm lost anything against the other, by paired runs of the same samples.

Three runs of each sample in both arms; samples where the arms differ are run four times more. An arm is refused when
one sample lost half of its score or more, or when the one-sided 95 % lower bound of the mean difference is below -5
points. Where that bound is missed without the mean being below zero for sure, too little is known: every sample is run
four times more, once. `zero_regressions` is seed 004's rule: any sample that passed and does not refuses.

Simulated (tests): at 50 samples that pass 95 % of the time an equal prompt is accepted 98 to 99 % of the time, one that
is 10 points worse 1 to 3 %, one with one broken sample at most 0.1 %.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

FIRST_RUNS = 3
MORE_RUNS = 4
LEAST_SAMPLES = 5
_LOST = 0.5
_MARGIN = 0.05
_Z95 = 1.6448536269514722

Rule = Literal["default", "zero_regressions"]
Decision = Literal["accepted", "regressed", "inconclusive", "more"]
Scores = Mapping[str, Sequence[float]]
"""Scores of an arm's runs, by sample."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the runs so far say. `flips` are samples whose arms differ, `lost` those that lost half or more.
    `difference` is the mean of what the candidate gained a sample, `at_least` its lower bound.
    """

    decision: Decision
    difference: float
    at_least: float
    flips: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def differing(baseline: Scores, candidate: Scores) -> list[str]:
    """Samples that were run in both arms with different scores."""
    return [one for one, scores in baseline.items() if one in candidate and fmean(scores) != fmean(candidate[one])]


def judge(baseline: Scores, candidate: Scores, *, rule: Rule = "default", is_last: bool) -> Judgement:
    """Whether the candidate is accepted. `is_last`: no more runs will follow, so nothing is left open by "more"."""
    both = [one for one in baseline if one in candidate]
    gained = {one: fmean(candidate[one]) - fmean(baseline[one]) for one in both}
    flips = tuple(one for one in both if gained[one] != 0)
    if len(both) < LEAST_SAMPLES:
        return Judgement("inconclusive", fmean(gained.values()) if gained else 0.0, -1.0, flips)
    mean = fmean(gained.values())
    half = _t95(len(both) - 1) * stdev(gained.values()) / sqrt(len(both))
    if rule == "zero_regressions":
        lost = tuple(one for one in both if gained[one] < 0)
        return Judgement("regressed" if lost else "accepted", mean, mean - half, flips, lost)
    lost = tuple(one for one in both if gained[one] <= -_LOST)
    if not lost and mean - half >= -_MARGIN:
        return Judgement("accepted", mean, mean - half, flips)
    if mean + half < 0 or (lost and is_last):
        return Judgement("regressed", mean, mean - half, flips, lost)
    return Judgement("inconclusive" if is_last else "more", mean, mean - half, flips, lost)


class PairedTrial:
    """Compares two arms over `samples`: says which runs it wants next, is given their scores, and ends with a
    judgement. It does no I/O: the loop runs them, and so do its simulations.
    """

    def __init__(self, samples: Sequence[str], *, rule: Rule = "default") -> None:
        self._samples = tuple(samples)
        self._rule: Rule = rule
        self._stage = 0
        self._scores: tuple[dict[str, list[float]], dict[str, list[float]]] = ({}, {})

    def wanted(self) -> tuple[tuple[str, ...], int] | None:
        """Samples and how often to run each in both arms now; None: no more runs are needed."""
        self._stage += 1
        if self._stage == 1:
            return self._samples, 1 if self._rule == "zero_regressions" else FIRST_RUNS
        if self._rule == "zero_regressions":
            return None
        if self._stage == 2:
            flips = tuple(differing(*self._scores))
            if flips:
                return flips, MORE_RUNS
            self._stage += 1
        if self._stage == 3 and self._judge(is_last=False).decision == "more":
            return self._samples, MORE_RUNS
        return None

    def add(self, arm: int, sample: str, score: float) -> None:
        """One more run: arm 0 is the baseline, 1 the candidate."""
        self._scores[arm].setdefault(sample, []).append(score)

    @property
    def judgement(self) -> Judgement:
        """What all runs say; the last word."""
        return self._judge(is_last=True)

    def scores(self, arm: int) -> Scores:
        return self._scores[arm]

    def _judge(self, *, is_last: bool) -> Judgement:
        return judge(*self._scores, rule=self._rule, is_last=is_last)


def _t95(df: int) -> float:
    """The 95 % quantile of Student's t with `df` degrees of freedom (Abramowitz and Stegun 26.7.5)."""
    z = _Z95
    g1 = (z**3 + z) / 4
    g2 = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    g3 = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + g1 / df + g2 / df**2 + g3 / df**3
