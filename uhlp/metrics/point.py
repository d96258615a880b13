"""Point: one number of one series, from a writer that has checked and translated a protocol of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HistogramTotals:
    """`counts` has one number for each bound and one more for what is above the last; they are not cumulative."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class SummaryTotals:
    """`quantiles`: (quantile from 0 to 1, its value), as whoever observed has computed them."""

    count: float
    sum: float
    quantiles: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """`name` and label names are Prometheus' already, but for dots. `value` is a number for counters and gauges.

    `is_total`: the value is what the series stands at, and replaces it; else it is added.
    """

    name: str
    metric_type: str
    value: float | HistogramTotals | SummaryTotals
    is_total: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    help_text: str = ""
