"""MetricFamily: one Prometheus metric with its label sets, and the names that Prometheus allows."""

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import prometheus_client

from uhlp.errors import MetricConflict, ValidationFailed

TYPES: dict[str, Any] = {
    "counter": prometheus_client.Counter,
    "gauge": prometheus_client.Gauge,
    "histogram": prometheus_client.Histogram,
    "summary": prometheus_client.Summary,
}
DEFAULT_BUCKETS: tuple[float, ...] = prometheus_client.Histogram.DEFAULT_BUCKETS
OWN_PREFIX = "uhlp_"
"""Metrics of the server itself; records may not use it."""

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_RESERVED_LABEL = {"histogram": "le", "summary": "quantile"}


class MetricFamily:
    """A metric of one type with fixed label names. `children` are its label sets, cached by their values."""

    __slots__ = ("buckets", "children", "instrument", "label_names", "metric_type", "name")

    def __init__(
        self,
        *,
        name: str,
        metric_type: str,
        help_text: str,
        label_names: tuple[str, ...],
        buckets: tuple[float, ...],
        registry: prometheus_client.CollectorRegistry,
    ) -> None:
        self.name = name
        self.metric_type = metric_type
        self.label_names = label_names
        self.buckets = buckets
        options = {"buckets": buckets} if metric_type == "histogram" else {}
        try:
            self.instrument = TYPES[metric_type](name, help_text, label_names, registry=registry, **options)
        except ValueError as error:  # its samples' names are those of another metric
            raise MetricConflict(f"{name} ({metric_type}) cannot stand beside the metrics there are: {error}") from None
        self.children: dict[tuple[str, ...], Any] = {}

    def require_same(self, metric_type: str, label_names: tuple[str, ...], buckets: tuple[float, ...] | None) -> None:
        """Raise MetricConflict, naming both, unless a metric of this shape is this one."""
        asked = buckets if buckets is not None else self.buckets
        if (metric_type, label_names, asked) != (self.metric_type, self.label_names, self.buckets):
            here = _shape(self.metric_type, self.label_names, self.buckets)
            raise MetricConflict(
                f"{self.name} exists as {here}; this one is {_shape(metric_type, label_names, asked)}.",
                details={"metric": self.name},
            )

    def record(self, label_values: tuple[str, ...], value: float) -> None:
        """Add, set or observe `value`, as the type has it."""
        child = self.children.get(label_values)
        if child is None:
            child = self.instrument.labels(*label_values) if self.label_names else self.instrument
            self.children[label_values] = child
        if self.metric_type == "counter":
            child.inc(value)
        elif self.metric_type == "gauge":
            child.set(value)
        else:
            child.observe(value)


def exposed_name(metric_name: str, metric_type: str) -> str:
    """The Prometheus name of a recorded metric: dots become underscores; counters get `_total` on the way out."""
    name = metric_name.replace(".", "_")
    return name.removesuffix("_total") or name if metric_type == "counter" else name


def exposed_labels(labels: Mapping[str, str], metric_type: str) -> dict[str, str]:
    """Labels under their Prometheus names (dots become underscores), sorted. Raises ValidationFailed."""
    exposed: dict[str, str] = {}
    for name, value in sorted(labels.items()):
        label = name.replace(".", "_")
        if not _LABEL_NAME.fullmatch(label) or label.startswith("__") or label == _RESERVED_LABEL.get(metric_type):
            raise ValidationFailed(
                f"{name!r} is no label name for a {metric_type}.", details={"path": f"/labels/{name}"}
            )
        if label in exposed:
            raise ValidationFailed(f"Two labels are called {label}.", details={"path": f"/labels/{name}"})
        exposed[label] = value
    return exposed


def checked_buckets(buckets: Sequence[float]) -> tuple[float, ...]:
    """Upper bounds in rising order, ending with infinity as prometheus_client has them. Raises ValidationFailed."""
    if any(low >= high for low, high in pairwise(buckets)):
        raise ValidationFailed("Buckets must rise.", details={"path": "/buckets"})
    bounds = tuple(float(bound) for bound in buckets)
    return bounds if bounds[-1:] == (float("inf"),) else (*bounds, float("inf"))


def _shape(metric_type: str, label_names: tuple[str, ...], buckets: tuple[float, ...]) -> str:
    labels = "{" + ", ".join(label_names) + "}"
    shown = f" with buckets {', '.join(f'{bound:g}' for bound in buckets)}" if metric_type == "histogram" else ""
    return f"{metric_type} {labels}{shown}"
