"""MetricCollector: takes metrics from sandboxes, tools and the server's rooms, shows them to Prometheus (seed 001)."""

import asyncio
from collections import Counter as Tally
from collections.abc import Container, Mapping, Sequence
from math import isfinite
from typing import Any, NamedTuple

import prometheus_client
import structlog

from uhlp.catalogue import server
from uhlp.errors import CardinalityLimit, PayloadTooLarge, UhlpError, ValidationFailed
from uhlp.jsonschemas import compile_validator
from uhlp.metering import Counter, Gauge, Histogram
from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.metric_family import (
    DEFAULT_BUCKETS,
    OWN_PREFIX,
    MetricFamily,
    checked_buckets,
    exposed_labels,
    exposed_name,
)

METRICS_CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
"""Content-Type of `generate_latest_metrics`."""

APPLICATION_LABEL = "appId"
_RECORDS_AT_A_TIME = 250
"""After so many records of a list other work has its turn: about 10 ms."""

_SHARED = ""

log = structlog.get_logger(__name__)


class MetricCollector:
    """One registry for two kinds of writers: records from outside, checked and bounded; and the rooms, as a Meter.

    `schema` is schemas/metric_record.schema.json. Single-threaded: every method is called on the event loop.
    """

    def __init__(self, *, schema: Mapping[str, Any], config: MetricsConfig) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second line per series
        self._validator = compile_validator(schema)
        self._config = config
        self._registry = prometheus_client.CollectorRegistry()
        self._families: dict[str, MetricFamily] = {}
        self._label_sets: dict[tuple[str, str], int] = {}
        self._app_series: Tally[str] = Tally()
        self._shared_metrics = 0
        self._recording = asyncio.Lock()
        self._rendering: asyncio.Task[bytes] | None = None
        self._accepted = server.METRIC_RECORDS.on(self).labels()
        self._refused = server.METRIC_RECORDS_REFUSED.on(self)

    async def record_metric(self, metric_data: Mapping[str, Any]) -> None:
        """Record one measurement (seed 001: metric_name, metric_type, value, labels?, buckets?, help?, unit?).

        A counter adds `value`, a gauge is set to it, histogram and summary observe it. Dots in names become
        underscores. `unit` is shown in HELP; `timestamp` is accepted and not exposed.
        Raises ValidationFailed (details.problems), MetricConflict, CardinalityLimit.
        """
        await self.record_many([metric_data])

    async def record_many(
        self, records: Sequence[Mapping[str, Any]], *, applications: Container[str] | None = None
    ) -> int:
        """Record all of them or, when one is refused, none; the error's details name its `index`. Returns how many.

        With `applications`, a label `appId` that is not among them has no share of its own in the series.
        """
        if len(records) > self._config.max_records:
            raise PayloadTooLarge(f"{len(records)} records; the limit is {self._config.max_records} in one list.")
        async with self._recording:
            batch = _Batch(applications)
            try:
                await self._plan_all(records, batch)
            except BaseException:
                self._shared_metrics -= batch.shared_metrics
                for family in batch.new_families:
                    self._registry.unregister(family.instrument)
                    del self._families[family.name]
                raise
            for (name, app_id), label_sets in batch.new_label_sets.items():
                self._label_sets[name, app_id] = self._label_sets.get((name, app_id), 0) + len(label_sets)
            self._app_series += batch.new_series
            for done, (family, label_values, value) in enumerate(batch.planned, 1):
                family.record(label_values, value)
                if done % _RECORDS_AT_A_TIME == 0:
                    await asyncio.sleep(0)
        self._accepted.inc(len(records))
        return len(records)

    async def _plan_all(self, records: Sequence[Mapping[str, Any]], batch: "_Batch") -> None:
        for index, record in enumerate(records):
            try:
                batch.planned.append(self._plan(record, batch))
            except UhlpError as error:
                self._refused.labels(error.code).inc(len(records))
                error.details["index"] = index
                raise
            if (index + 1) % _RECORDS_AT_A_TIME == 0:
                await asyncio.sleep(0)

    async def latest(self) -> bytes:
        """`generate_latest_metrics` in a thread; those who ask while it works get the same answer."""
        if self._rendering is None or self._rendering.done():
            self._rendering = asyncio.create_task(asyncio.to_thread(self.generate_latest_metrics))
        return await asyncio.shield(self._rendering)

    def generate_latest_metrics(self) -> bytes:
        """All metrics in Prometheus' text format (METRICS_CONTENT_TYPE). May run in a thread."""
        return prometheus_client.generate_latest(self._registry)

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        """The counter of this name, made on first use. Raises MetricConflict when it exists with another shape."""
        instrument: Counter = self._own_instrument(name, "counter", help_text, labels)
        return instrument

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        """The gauge of this name, made on first use. Raises MetricConflict as `counter` does."""
        instrument: Gauge = self._own_instrument(name, "gauge", help_text, labels)
        return instrument

    def histogram(
        self, name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = ()
    ) -> Histogram:
        """The histogram of this name, made on first use; default buckets run from 5 ms to 10 s, in seconds."""
        instrument: Histogram = self._own_instrument(name, "histogram", help_text, labels, buckets)
        return instrument

    def _own_instrument(
        self, name: str, metric_type: str, help_text: str, labels: Sequence[str], buckets: Sequence[float] = ()
    ) -> Any:
        label_names = tuple(labels)
        family = self._families.get(name)
        if family is None:
            family = self._new_family(name, metric_type, help_text, label_names, buckets or None)
        else:
            family.require_same(metric_type, label_names, checked_buckets(buckets) if buckets else None)
        return family.instrument if label_names else _Unlabelled(family.instrument)

    def _plan(self, record: Mapping[str, Any], batch: "_Batch") -> "_Planned":
        """Check one record and say where it goes; changes nothing but `batch` and families that it registers."""
        problems = self._validator.problems(record)
        if problems:
            where = problems[0]["path"] or "the record"
            raise ValidationFailed(f"{where}: {problems[0]['message']}", details={"problems": problems})
        metric_type, value = record["metric_type"], record["value"]
        name = exposed_name(record["metric_name"], metric_type)
        labels = exposed_labels(record.get("labels") or {}, metric_type)
        self._check_values(name, metric_type, value, labels)
        buckets = record.get("buckets")
        if buckets is not None and metric_type != "histogram":
            raise ValidationFailed(f"A {metric_type} has no buckets.", details={"path": "/buckets"})

        app_id = batch.owner(labels.get(APPLICATION_LABEL, _SHARED))
        label_names, label_values = tuple(labels), tuple(labels.values())
        family = self._families.get(name)
        if family is None:
            if len(self._families) >= self._config.max_metrics:
                raise CardinalityLimit(f"There are {self._config.max_metrics} metrics already; {name} is one too many.")
            if app_id == _SHARED and self._shared_metrics >= self._config.max_shared_metrics:
                raise CardinalityLimit(
                    f"Records without a registered application have made {self._shared_metrics} metrics already."
                )
            help_text = (record.get("help") or "Recorded metric") + (
                f" ({record['unit']})" if record.get("unit") else ""
            )
            family = self._new_family(name, metric_type, help_text, label_names, buckets)
            batch.new_families.append(family)
            batch.shared_metrics += app_id == _SHARED
            self._shared_metrics += app_id == _SHARED
            log.debug("metric_created", metric=name, metric_type=metric_type, labels=label_names)
        else:
            family.require_same(metric_type, label_names, checked_buckets(buckets) if buckets else None)
        if label_values not in family.children:
            self._check_cardinality(name, app_id, label_values, batch)
        return _Planned(family, label_values, value)

    def _check_values(self, name: str, metric_type: str, value: float, labels: Mapping[str, str]) -> None:
        if name.startswith(OWN_PREFIX):
            raise ValidationFailed(
                f"Names that begin with {OWN_PREFIX} are the server's own.", details={"metric": name}
            )
        if not isfinite(value) or (metric_type == "counter" and value < 0):
            raise ValidationFailed(f"{value} is no value for a {metric_type}.", details={"path": "/value"})
        if len(labels) > self._config.max_labels:
            raise ValidationFailed(f"{len(labels)} labels; the limit is {self._config.max_labels}.")
        for label, text in labels.items():
            if len(text) > self._config.max_label_length:
                limit = self._config.max_label_length
                raise ValidationFailed(f"Label {label} is {len(text)} characters long; the limit is {limit}.")

    def _check_cardinality(self, name: str, app_id: str, label_values: tuple[str, ...], batch: "_Batch") -> None:
        label_sets = batch.new_label_sets.setdefault((name, app_id), set())
        if label_values in label_sets:
            return
        if self._label_sets.get((name, app_id), 0) + len(label_sets) >= self._config.max_label_sets:
            raise CardinalityLimit(
                f"{name} has {self._config.max_label_sets} label sets in application {app_id or '(none)'} already.",
                details={"metric": name, APPLICATION_LABEL: app_id},
            )
        if self._app_series[app_id] + batch.new_series[app_id] >= self._config.max_app_series:
            raise CardinalityLimit(
                f"Application {app_id or '(none that is registered)'} has its {self._config.max_app_series} series.",
                details={"metric": name, APPLICATION_LABEL: app_id},
            )
        if self._app_series.total() + batch.new_series.total() >= self._config.max_series:
            raise CardinalityLimit(f"There are {self._config.max_series} series already.", details={"metric": name})
        label_sets.add(label_values)
        batch.new_series[app_id] += 1

    def _new_family(
        self,
        name: str,
        metric_type: str,
        help_text: str,
        label_names: tuple[str, ...],
        buckets: Sequence[float] | None,
    ) -> MetricFamily:
        family = MetricFamily(
            name=name,
            metric_type=metric_type,
            help_text=help_text,
            label_names=label_names,
            buckets=checked_buckets(buckets or DEFAULT_BUCKETS) if metric_type == "histogram" else (),
            registry=self._registry,
        )
        self._families[name] = family
        return family


class _Planned(NamedTuple):
    family: MetricFamily
    label_values: tuple[str, ...]
    value: float


class _Batch:
    """What a list of records will do, until all of them are known to be good."""

    def __init__(self, applications: Container[str] | None) -> None:
        self._applications = applications
        self.planned: list[_Planned] = []
        self.new_families: list[MetricFamily] = []
        self.new_label_sets: dict[tuple[str, str], set[tuple[str, ...]]] = {}
        self.new_series: Tally[str] = Tally()
        self.shared_metrics = 0

    def owner(self, app_id: str) -> str:
        """Whose share of the series a record uses."""
        return app_id if self._applications is None or app_id in self._applications else _SHARED


class _Unlabelled:
    """An instrument without labels, where `labels()` means itself (prometheus_client refuses the call)."""

    def __init__(self, instrument: Any) -> None:
        self._instrument = instrument

    def labels(self) -> Any:
        return self._instrument
