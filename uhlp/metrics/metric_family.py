"""MetricFamily: one Prometheus metric with its series."""

from typing import Any

import prometheus_client

from uhlp.clock import Clock
from uhlp.errors import MetricConflict
from uhlp.metrics.metric_names import APPLICATION_LABEL
from uhlp.metrics.series import INSTRUMENTS, CounterSeries, GaugeSeries, HistogramSeries, Series, SummarySeries

_SERIES: dict[str, Any] = {"counter": CounterSeries, "gauge": GaugeSeries, "summary": SummarySeries}


class MetricFamily:
    """A metric of one type with fixed label names: an instrument of prometheus_client in its registry, and `series`,
    its label sets by their values.

    A room's Counter, Gauge or Histogram is a family too: `labels(*values)` gives the series, made on first use.
    `owner` is whose share of the metrics it uses, None for the server's own. A label set is `lines_each` lines.
    """

    def __init__(
        self,
        *,
        name: str,
        metric_type: str,
        help_text: str,
        unit: str,
        label_names: tuple[str, ...],
        buckets: tuple[float, ...],
        owner: str | None,
        instance: str,
        registry: prometheus_client.CollectorRegistry,
        clock: Clock,
    ) -> None:
        self.name = name
        self.metric_type = metric_type
        self.label_names = label_names
        self.buckets = buckets
        self.unit = unit
        self.owner = owner
        self.app_id_at = label_names.index(APPLICATION_LABEL) if APPLICATION_LABEL in label_names else None
        self.series: dict[tuple[str, ...], Any] = {}
        self.lines_each = {"histogram": len(buckets) + 2, "summary": 2}.get(metric_type, 1)
        self._more_labels = [("instance", instance)] if instance and "instance" not in label_names else []
        self._clock = clock
        self._registry = registry
        options: dict[str, Any] = {"buckets": buckets} if metric_type == "histogram" else {}
        shown_unit = unit if unit and name.endswith(f"_{unit}") else ""  # UNIT must be the end of the name
        self.help_text = help_text if shown_unit or not unit else f"{help_text} ({unit})"
        try:
            self.instrument = INSTRUMENTS[metric_type](
                name, self.help_text, label_names, unit=shown_unit, registry=registry, **options
            )
        except ValueError as error:  # its samples' names are those of another metric
            raise MetricConflict(
                f"{name} ({metric_type}) cannot stand beside the metrics there are: {error}", details={"metric": name}
            ) from None
        self.text_head, self.openmetrics_head = self._heads(shown_unit)

    def _heads(self, shown_unit: str) -> tuple[str, str]:
        name, kind = self.name, self.metric_type
        plain = self.help_text.replace("\\", r"\\").replace("\n", r"\n")
        total = f"{name}_total" if kind == "counter" else name
        text = f"\n# HELP {total} {plain}\n# TYPE {total} {kind}"
        quoted = plain.replace('"', r"\"")
        if kind == "gauge" and self.owner is None and name.endswith("_info"):
            name, kind = name.removesuffix("_info"), "info"  # a type of its own in OpenMetrics alone
        unit = f"\n# UNIT {name} {shown_unit}" if shown_unit else ""
        return text, f"\n# HELP {name} {quoted}\n# TYPE {name} {kind}{unit}"

    def labels(self, *values: str) -> Any:
        """The series of these label values."""
        series = self.series.get(values)
        return series if series is not None else self.add(tuple(map(str, values)), None)

    def add(self, label_values: tuple[str, ...], owner: str | None) -> Any:
        """The series of these label values, made when it is not there."""
        series = self.series.get(label_values)
        if series is None:
            child = self.instrument.labels(*label_values) if self.label_names else self.instrument
            labels = [*zip(self.label_names, label_values, strict=True), *self._more_labels]
            if self.metric_type == "histogram":
                series = HistogramSeries(child, self.name, labels, owner, self._clock)
            else:
                series = _SERIES[self.metric_type](child, self.name, labels, owner)
            self.series[label_values] = series
        return series

    def remove(self, *values: str) -> Series | None:
        """Show these label values no longer; returns what they had."""
        series: Series | None = self.series.pop(values, None)
        if series is not None and self.label_names:
            self.instrument.remove(*values)
        return series

    def close(self) -> None:
        """Take the metric out of the registry."""
        self._registry.unregister(self.instrument)

    def require_same(
        self, metric_type: str, label_names: tuple[str, ...], buckets: tuple[float, ...] | None, unit: str = ""
    ) -> None:
        """Raise MetricConflict, naming both, unless a metric of this shape is this one."""
        asked = buckets if buckets is not None else self.buckets
        asked_unit = unit or self.unit
        same = (self.metric_type, self.label_names, self.buckets, self.unit)
        if (metric_type, label_names, asked, asked_unit) != same:
            raise MetricConflict(
                f"{self.name} exists as {_shape(*same)};"
                f" this one is {_shape(metric_type, label_names, asked, asked_unit)}.",
                details={"metric": self.name},
            )


def _shape(metric_type: str, label_names: tuple[str, ...], buckets: tuple[float, ...], unit: str) -> str:
    labels = "{" + ", ".join(label_names) + "}"
    shown = f" with buckets {', '.join(f'{bound:g}' for bound in buckets)}" if metric_type == "histogram" else ""
    return f"{metric_type} {labels}{shown}" + (f" in {unit}" if unit else "")
