"""What the runs of a scenario show, held against its targets."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from statistics import mean, median, quantiles, stdev
from typing import Any, Literal

from uhlp.bench.playing import IN_FLIGHT, RunResult
from uhlp.bench.scenarios import Scenario

Standing = Literal["met", "NOT MET", "unclear"]
"""Of a target: `unclear` is beyond it by no more than chance, in fewer runs than it asks for."""

_STANDARD_ERRORS = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One target with what was found; `seeds` are those of runs that speak against it."""

    target: str
    found: str
    standing: Standing
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """A scenario's figures over its runs. Requests count from the first one that was recorded; after a turn in service
    from that. Wrong answers are those that reached users, reference calls those that only measured.
    """

    scenario: str
    runs: int
    promoted: int
    refused: int
    undecided: int
    causes: dict[str, int]
    requests_median: float
    requests_p90: float
    wrong_mean: float
    wrong_max: int
    reference_calls_mean: float
    checks: tuple[Check, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def row_of(scenario: Scenario, results: Sequence[RunResult]) -> Row:
    """The figures of all runs of one scenario."""
    outcomes = Counter(one.outcome for one in results)
    requests = [float(one.requests) for one in results]
    return Row(
        scenario=scenario.name,
        runs=len(results),
        promoted=outcomes["promoted"],
        refused=outcomes["refused"],
        undecided=outcomes["undecided"],
        causes=dict(Counter(one.cause for one in results if one.cause).most_common()),
        requests_median=median(requests),
        requests_p90=quantiles(requests, n=10, method="inclusive")[8] if len(requests) > 1 else requests[0],
        wrong_mean=mean(one.wrong_served for one in results),
        wrong_max=max(one.wrong_served for one in results),
        reference_calls_mean=mean(one.reference_calls for one in results),
        checks=tuple(_checks(scenario, results)),
    )


def _checks(scenario: Scenario, results: Sequence[RunResult]) -> list[Check]:
    targets, n = scenario.targets, len(results)
    is_enough = n >= scenario.runs
    promoted = tuple(one.seed for one in results if one.outcome == "promoted")
    others = tuple(one.seed for one in results if one.outcome != "promoted")
    share = len(promoted) / n
    checks = []
    if (most := targets.promoted_at_most) is not None:
        standing = _standing(share - most, _error_of_share(most, n), is_enough=is_enough)
        target = f"promoted in at most {most:.2%} of the runs" if most else "taken out in every run"
        checks.append(Check(target, f"{len(promoted)} of {n} promoted", standing, promoted))
    if (least := targets.promoted_at_least) is not None:
        standing = _standing(least - share, _error_of_share(least, n), is_enough=is_enough)
        checks.append(
            Check(f"promoted in at least {least:.0%} of the runs", f"{len(promoted)} of {n}", standing, others)
        )
    wrong = [one.wrong_served for one in results if one.has_turned or scenario.turns_at is None]
    if (average := targets.wrong_on_average) is not None and wrong:
        error = stdev(wrong) / sqrt(len(wrong)) if len(wrong) > 1 else 0.0
        standing = _standing(mean(wrong) - average, error, is_enough=is_enough)
        checks.append(Check(f"at most {average:g} wrong answers served on average", f"{mean(wrong):.1f}", standing))
    if targets.wrong_at_most is not None:
        allowed = targets.wrong_at_most + IN_FLIGHT
        seeds = tuple(one.seed for one in results if one.wrong_served > allowed)
        text = f"never more than {targets.wrong_at_most} wrong answers served, beside {IN_FLIGHT} in flight"
        checks.append(Check(text, f"{max(wrong)} at most", "NOT MET" if seeds else "met", seeds))
    failed = tuple(one.seed for one in results if one.failed_requests)
    checks.append(Check("no request fails", f"{len(failed)} runs with one", "NOT MET" if failed else "met", failed))
    return checks


def _error_of_share(share: float, n: int) -> float:
    return sqrt(share * (1 - share) / n)


def _standing(beyond: float, standard_error: float, *, is_enough: bool) -> Standing:
    """Of a figure that lies `beyond` its target (met: 0 or less)."""
    if beyond <= 1e-12:
        return "met"
    return "NOT MET" if is_enough or beyond > _STANDARD_ERRORS * standard_error else "unclear"
