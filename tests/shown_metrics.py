"""What GET /metrics shows, read as Prometheus reads it."""

from prometheus_client.parser import text_string_to_metric_families

from uhlp.catalogue import Metric
from uhlp.clock import FakeClock
from uhlp.metrics import MetricCollector, MetricsConfig

Series = dict[tuple[str, ...], float]
"""Values by label values, in the order of the catalogue."""


class ShownMeter(MetricCollector):
    """A collector whose series tests look up."""

    def __init__(self) -> None:
        super().__init__(schema={"type": "object"}, config=MetricsConfig(), clock=FakeClock())

    def series(self, metric: Metric, suffix: str = "") -> Series:
        return series_of(self.generate_latest_metrics().decode(), metric, suffix)


def series_of(text: str, metric: Metric, suffix: str = "") -> Series:
    """The series of one metric; of a histogram those with this `suffix`."""
    return {
        tuple(sample.labels[label] for label in metric.labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == metric.name + suffix
    }
