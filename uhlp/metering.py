"""Meter: how every room counts without importing metrics.

A room asks its meter for an instrument once, at construction, and calls `labels(...)` for each count, which is a
dict lookup. A child that is kept must not outlive its application: when that is deregistered its series go, and a
kept child would count where nobody looks. Shapes follow prometheus_client.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol


class CounterChild(Protocol):
    def inc(self, amount: float = 1.0) -> None: ...


class GaugeChild(Protocol):
    def set(self, value: float) -> None: ...
    def inc(self, amount: float = 1.0) -> None: ...
    def dec(self, amount: float = 1.0) -> None: ...


class HistogramChild(Protocol):
    def observe(self, amount: float, trace_id: str = "") -> None:
        """Count `amount`. With `trace_id` it becomes its bucket's exemplar, which OpenMetrics shows."""
        ...


class Counter(Protocol):
    def labels(self, *values: str) -> CounterChild: ...


class Gauge(Protocol):
    def labels(self, *values: str) -> GaugeChild: ...

    def remove(self, *values: str) -> object:
        """Show these label values no longer."""
        ...


class Histogram(Protocol):
    def labels(self, *values: str) -> HistogramChild: ...


class Meter(Protocol):
    """Makes instruments; asking twice for one name gives the same instrument."""

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter: ...
    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge: ...
    def histogram(
        self, name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = ()
    ) -> Histogram: ...


class SampledGauge:
    """A gauge whose label values come and go, such as the candidates in traffic."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._shown: frozenset[tuple[str, ...]] = frozenset()

    def show(self, values: Mapping[tuple[str, ...], float]) -> None:
        """Show `values` by label values, and none of those shown before that are not among them."""
        for labels, value in values.items():
            self._gauge.labels(*labels).set(value)
        for gone in self._shown - values.keys():
            self._gauge.remove(*gone)
        self._shown = frozenset(values)


class _Nothing:
    def labels(self, *values: str) -> "_Nothing":
        return self

    def remove(self, *values: str) -> None: ...

    def inc(self, amount: float = 1.0) -> None: ...
    def dec(self, amount: float = 1.0) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, amount: float, trace_id: str = "") -> None: ...


class NullMeter:
    """Counts nothing: for tests and for tools that run without a server."""

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return _Nothing()

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return _Nothing()

    def histogram(
        self, name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = ()
    ) -> Histogram:
        return _Nothing()
