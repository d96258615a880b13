"""Point: one number of one series, from a writer that has checked and translated a protocol of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from uhlp.metrics.series import HistogramTotals, SummaryTotals


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
