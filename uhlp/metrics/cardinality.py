"""Cardinality: how many metrics and series recorded metrics may have, and how many they have now."""

from collections import Counter as Tally
from typing import Any

from uhlp.errors import CardinalityLimit
from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.metric_family import MetricFamily
from uhlp.metrics.metric_names import APPLICATION_LABEL
from uhlp.metrics.series import Series

SHARED = ""
"""The owner of what no registered application owns."""


class Cardinality:
    """Counts what is there by its owner; the server's own metrics are not limited and not counted."""

    def __init__(self, config: MetricsConfig) -> None:
        self._config = config
        self._metrics: Tally[str] = Tally()
        self._series: Tally[str] = Tally()
        self._all_series = 0
        self._label_sets: Tally[tuple[str, str]] = Tally()

    def require_room_for_metric(self, name: str, owner: str) -> None:
        """Raise CardinalityLimit when `owner` may make no further metric."""
        if self._metrics.total() >= self._config.max_metrics:
            raise CardinalityLimit(f"There are {self._config.max_metrics} metrics already; {name} is one too many.")
        if self._metrics[owner] >= self._config.max_app_metrics:
            raise CardinalityLimit(
                f"{_named(owner)} has made {self._config.max_app_metrics} metrics already; {name} is one too many.",
                details={"metric": name, APPLICATION_LABEL: owner},
            )

    def require_room_for_series(self, family: MetricFamily, owner: str) -> None:
        """Raise CardinalityLimit when `owner` may have no further label set of `family`."""
        name, size, details = family.name, family.lines_each, {"metric": family.name, APPLICATION_LABEL: owner}
        if self._label_sets[name, owner] >= self._config.max_label_sets:
            told = f"{_named(owner)} has {self._config.max_label_sets} label sets of {name} already."
        elif self._series[owner] + size > self._config.max_app_series:
            told = f"{_named(owner)} has its {self._config.max_app_series} series already; {name} would add {size}."
        elif self._all_series + size > self._config.max_series:
            told = f"There are {self._config.max_series} series already; {name} would add {size}."
        else:
            return
        raise CardinalityLimit(told, details=details)

    def metric_added(self, family: MetricFamily) -> None:
        self._metrics[_owner(family)] += 1

    def metric_removed(self, family: MetricFamily) -> None:
        _take(self._metrics, _owner(family), 1)

    def series_added(self, family: MetricFamily, series: Series) -> None:
        owner = _owner(series)
        self._label_sets[family.name, owner] += 1
        self._series[owner] += family.lines_each
        self._all_series += family.lines_each

    def series_removed(self, family: MetricFamily, series: Series) -> None:
        owner = _owner(series)
        _take(self._label_sets, (family.name, owner), 1)
        _take(self._series, owner, family.lines_each)
        self._all_series -= family.lines_each

    @property
    def series(self) -> int:
        """All recorded series."""
        return self._all_series


def _owner(of: MetricFamily | Series) -> str:
    return of.owner or SHARED


def _take(tally: Tally[Any], key: object, number: int) -> None:
    """Count down, and keep no zero: owners come and go."""
    tally[key] -= number
    if tally[key] <= 0:
        del tally[key]


def _named(owner: str) -> str:
    return f"Application {owner}" if owner else "Whoever records without a registered application"
