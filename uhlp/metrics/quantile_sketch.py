"""Quantiles with a relative error of at most 1 %, in counts that can be merged (the mapping of DDSketch, VLDB 2019).

A value falls into bin i when gamma^(i-1) < value <= gamma^i; answering with the middle of the bin errs by at most
RELATIVE_ERROR. Values are milliseconds, held between MIN_VALUE and MAX_VALUE, so there are at most MOST_BINS bins.
"""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from math import ceil, exp, log

RELATIVE_ERROR = 0.01
MIN_VALUE = 1e-3
"""A microsecond."""
MAX_VALUE = 1e9
"""Twelve days."""

_LOG_GAMMA = log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
PER_LOG = 1 / _LOG_GAMMA

FIRST_BIN = ceil(log(MIN_VALUE) * PER_LOG)
LAST_BIN = ceil(log(MAX_VALUE) * PER_LOG)
MOST_BINS = LAST_BIN - FIRST_BIN + 1


def bin_of(value: float) -> int:
    """The bin of a value between MIN_VALUE and MAX_VALUE."""
    return ceil(log(value) * PER_LOG)


class QuantileSketch:
    """Bins ready to be asked for several quantiles."""

    __slots__ = ("_indices", "_seen")

    def __init__(self, bins: Mapping[int, int]) -> None:
        self._indices = sorted(bins)
        self._seen = list(accumulate(bins[index] for index in self._indices))

    def quantile(self, q: float) -> float | None:
        """The value at rank q (0 to 1); None when there are no values."""
        if not self._seen:
            return None
        at = bisect_right(self._seen, q * (self._seen[-1] - 1))
        return exp(self._indices[at] * _LOG_GAMMA) * (1 - RELATIVE_ERROR)
