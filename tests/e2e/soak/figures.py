"""Figures of a soak: the slope of what a server holds, and how long its answers took at first and at last."""

import random
import statistics
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

from tests.e2e.soak.held import Held

GROUPS = 20
TEN_MINUTES_S = 600.0
BLOCK_S = 10.0
"""Steps that began within this were slow together or not at all: what slows one slows its neighbours."""
_RESAMPLES = 200
_ALPHA = 0.05

Timed = tuple[float, float]
"""When a step began and how long it took, both in seconds."""


class Slope(NamedTuple):
    """MiB in ten minutes, and the standard error."""

    mib: float
    error: float

    def __str__(self) -> str:
        return f"{self.mib:+.2f} MiB in 10 minutes, standard error {self.error:.2f}"


def memory_slope(seen: Sequence[Held]) -> Slope:
    """Least squares over the means of up to twenty stretches of `seen`.

    Means, because one look is much like the next: with each of them counted as a point of its own, the error would
    come out far too small.
    """
    size = max(1, len(seen) // GROUPS)
    groups = [seen[at : at + size] for at in range(0, len(seen) - size + 1, size)]
    times = [statistics.fmean(one.at_s for one in group) for group in groups]
    memory = [statistics.fmean(one.memory_mib for one in group) for group in groups]
    slope, intercept = statistics.linear_regression(times, memory)
    rest = sum((y - intercept - slope * x) ** 2 for x, y in zip(times, memory, strict=True))
    middle = statistics.fmean(times)
    error = (rest / (len(times) - 2) / sum((x - middle) ** 2 for x in times)) ** 0.5
    return Slope(slope * TEN_MINUTES_S, error * TEN_MINUTES_S)


def p99_ms(times_s: Sequence[float]) -> float:
    return sorted(times_s)[int(len(times_s) * 0.99)] * 1000 if times_s else float("nan")


class Ratio(NamedTuple):
    """And the interval that it lies in with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def p99_ratio(first: Sequence[Timed], last: Sequence[Timed]) -> Ratio:
    """The 99th percentile of `last` over that of `first`; the interval by drawing blocks of `BLOCK_S` again (Künsch,
    1989), because steps side by side are not independent. With some 120 steps, p99 is the second longest and the
    interval wide.
    """
    dice = random.Random(1)
    parts = [_blocks(first), _blocks(last)]
    drawn = sorted(
        _p99_of(dice.choices(parts[1], k=len(parts[1]))) / _p99_of(dice.choices(parts[0], k=len(parts[0])))
        for _ in range(_RESAMPLES)
    )
    cut = round(_RESAMPLES * _ALPHA / 2)
    return Ratio(_p99_of(parts[1]) / _p99_of(parts[0]), drawn[cut], drawn[-1 - cut])


def _blocks(steps: Sequence[Timed]) -> list[list[float]]:
    blocks = defaultdict[int, list[float]](list)
    for began_s, took_s in steps:
        blocks[int(began_s // BLOCK_S)].append(took_s)
    return list(blocks.values())


def _p99_of(blocks: Sequence[Sequence[float]]) -> float:
    return p99_ms(list(chain.from_iterable(blocks)))
