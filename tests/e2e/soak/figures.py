"""Figures of a soak: the slope of what a server holds, and how long its answers took at first and at last."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple

from tests.e2e.soak.held import Held

GROUPS = 20
TEN_MINUTES_S = 600.0


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
