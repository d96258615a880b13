"""What the catalogue says of one metric, and how a room makes the instrument from it."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from uhlp.metering import Counter, Gauge, Histogram, Meter

MetricType = Literal["counter", "gauge", "histogram"]
Row = Literal["traffic", "handlers", "evolution", "sandboxes", "money", "health"]
"""Under which heading people look for it; a row of the dashboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric under the name that Prometheus sees. `unit` is `1` where things are counted."""

    metric_type: ClassVar[MetricType]

    name: str
    meaning: str
    labels: tuple[str, ...] = ()
    unit: str = "1"
    row: Row


class CounterMetric(Metric):
    """Only grows; its name ends in `_total`."""

    metric_type = "counter"
    __slots__ = ()

    def on(self, meter: Meter) -> Counter:
        return meter.counter(self.name, self.meaning, self.labels)


class GaugeMetric(Metric):
    """Is what it is now."""

    metric_type = "gauge"
    __slots__ = ()

    def on(self, meter: Meter) -> Gauge:
        return meter.gauge(self.name, self.meaning, self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramMetric(Metric):
    """Observations by size; `buckets` are upper bounds in its unit."""

    metric_type = "histogram"

    unit: str = "seconds"
    buckets: tuple[float, ...]

    def on(self, meter: Meter) -> Histogram:
        return meter.histogram(self.name, self.meaning, self.labels, self.buckets)
