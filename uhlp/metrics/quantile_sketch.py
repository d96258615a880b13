"""Quantiles with a relative error of at most 1 %, in counts that can be merged (the mapping of DDSketch, VLDB 2019).

A value falls into bin i when gamma^(i-1) < value <= gamma^i; answering with the middle of the bin errs by at most
RELATIVE_ERROR. Values are milliseconds, held between MIN_VALUE and MAX_VALUE, so there are at most 1,727 bins.
"""

from collections.abc import Mapping
from math import ceil, exp, log

RELATIVE_ERROR = 0.01
MIN_VALUE = 1e-6
MAX_VALUE = 1e9

_LOG_GAMMA = log((1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR))
PER_LOG = 1 / _LOG_GAMMA


def bin_of(value: float) -> int:
    """The bin of a value between MIN_VALUE and MAX_VALUE."""
    return ceil(log(value) * PER_LOG)


def quantile(bins: Mapping[int, int], q: float) -> float | None:
    """The value at rank q (0 to 1) of the binned values; None when there are none."""
    rank = q * (sum(bins.values()) - 1)
    seen = 0
    for index in sorted(bins):
        seen += bins[index]
        if seen > rank:
            return exp(index * _LOG_GAMMA) * (1 - RELATIVE_ERROR)
    return None
