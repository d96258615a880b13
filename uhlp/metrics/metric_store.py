"""MetricStore: every metric there is, the bounds on them, and what frees them again.

What frees a series: its application is deregistered, or nobody has written it for `forget_after_s`. A recorded metric
goes with its last series.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Any

import prometheus_client
import structlog

from uhlp.clock import Clock
from uhlp.metrics.cardinality import SHARED, Cardinality
from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.metric_family import MetricFamily
from uhlp.metrics.metric_names import DEFAULT_BUCKETS, checked_buckets
from uhlp.metrics.series import Series

LONGEST_HELP = 1_000
LONGEST_UNIT = 100
_SERIES_AT_A_TIME = 2_000
"""After so many series of a cycle other work has its turn: about a millisecond."""

log = structlog.get_logger(__name__)


class MetricStore:
    """Metrics by name, the server's own and recorded ones. Used on the event loop only."""

    def __init__(self, *, config: MetricsConfig, clock: Clock) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line per series
        self.families: dict[str, MetricFamily] = {}
        self.registry = prometheus_client.CollectorRegistry()
        self.cardinality = Cardinality(config)
        self.removals = 0
        """Counts metrics that went: what is kept of a metric by its name is stale when this has moved."""
        self._config = config
        self._clock = clock
        self._applications: frozenset[str] = frozenset()

    def own_metric(
        self, name: str, metric_type: str, help_text: str, labels: Sequence[str], buckets: Sequence[float] = ()
    ) -> MetricFamily:
        """A metric of the server itself, made on first use, unlimited. Raises MetricConflict."""
        name = name.removesuffix("_total") if metric_type == "counter" else name
        label_names, bounds = tuple(labels), checked_buckets(buckets) if buckets else None
        family = self.families.get(name)
        if family is None:
            family = self._new_metric(name, metric_type, help_text, "", label_names, bounds, None)
            if not label_names:
                family.labels()
            return family
        family.require_same(metric_type, label_names, bounds)
        return family

    def metric(
        self,
        name: str,
        metric_type: str,
        label_names: tuple[str, ...],
        *,
        buckets: Sequence[float] | None,
        unit: str,
        help_text: str,
        owner: str,
    ) -> MetricFamily:
        """The recorded metric of this name, made on first use for `owner`'s share; help is cut at `LONGEST_HELP`.

        Raises MetricConflict, naming both, when it exists with another shape; CardinalityLimit; ValidationFailed.
        """
        bounds = checked_buckets(buckets) if buckets is not None else None
        help_text, unit = help_text[:LONGEST_HELP] or "Recorded metric", unit[:LONGEST_UNIT]
        family = self.families.get(name)
        if family is not None:
            family.require_same(metric_type, label_names, bounds, unit)
            return family
        self.cardinality.require_room_for_metric(name, owner)
        family = self._new_metric(name, metric_type, help_text, unit, label_names, bounds, owner)
        self.cardinality.metric_added(family)
        log.debug("metric_created", metric=name, metric_type=metric_type, labels=label_names)
        return family

    def series(self, family: MetricFamily, label_values: tuple[str, ...], owner: str) -> Any:
        """A series of a recorded metric, made on first use for `owner`'s share. Raises CardinalityLimit."""
        series = family.series.get(label_values)
        if series is None:
            self.cardinality.require_room_for_series(family, owner)
            series = family.add(label_values, owner)
            self.cardinality.series_added(family, series)
        return series

    def take_back(self, made: Sequence[tuple[MetricFamily, tuple[str, ...]]]) -> None:
        """Remove those of these series that nobody has written, and metrics that have no series."""
        for family, label_values in made:
            series = family.series.get(label_values)
            if series is not None and series.written_s is None:
                self._remove(family, label_values)
            self._remove_when_empty(family)

    async def run_cycle(self, app_ids: Collection[str]) -> None:
        """Free the series of applications that are not among `app_ids` any more, and of recorded ones that are idle.

        Late counts of a deregistered application, from requests that were in flight, go with the next cycle.
        """
        registered = frozenset(app_ids)
        gone = self._applications - registered
        self._applications = registered
        for family in list(self.families.values()):
            for done, (label_values, series) in enumerate(list(family.series.items()), 1):
                if self._is_over(family, label_values, series, registered, gone):
                    self._remove(family, label_values)
                if done % _SERIES_AT_A_TIME == 0:
                    await asyncio.sleep(0)
            self._remove_when_empty(family)

    def _is_over(
        self,
        family: MetricFamily,
        label_values: tuple[str, ...],
        series: Series,
        registered: frozenset[str],
        gone: frozenset[str],
    ) -> bool:
        if family.series.get(label_values) is not series:
            return False  # removed while other work had its turn
        app_id = label_values[family.app_id_at] if family.app_id_at is not None else SHARED
        if series.owner is None:
            return app_id != SHARED and app_id not in registered
        if app_id in gone or (series.owner != SHARED and series.owner not in registered):
            return True
        written_s = series.written_s
        return written_s is not None and written_s < self._clock.monotonic() - self._config.forget_after_s

    def _remove(self, family: MetricFamily, label_values: tuple[str, ...]) -> None:
        series = family.remove(*label_values)
        if series is not None and series.owner is not None:
            self.cardinality.series_removed(family, series)

    def _remove_when_empty(self, family: MetricFamily) -> None:
        if family.owner is not None and not family.series and self.families.get(family.name) is family:
            family.close()
            del self.families[family.name]
            self.cardinality.metric_removed(family)
            self.removals += 1

    def _new_metric(
        self,
        name: str,
        metric_type: str,
        help_text: str,
        unit: str,
        label_names: tuple[str, ...],
        bounds: tuple[float, ...] | None,
        owner: str | None,
    ) -> MetricFamily:
        family = MetricFamily(
            name=name,
            metric_type=metric_type,
            help_text=help_text,
            unit=unit,
            label_names=label_names,
            buckets=(bounds or checked_buckets(DEFAULT_BUCKETS)) if metric_type == "histogram" else (),
            owner=owner,
            instance=self._config.instance,
            registry=self.registry,
            clock=self._clock,
        )
        self.families[name] = family
        return family
