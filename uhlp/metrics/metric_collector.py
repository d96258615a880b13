"""MetricCollector: takes metrics from sandboxes, tools and the server's rooms, shows them to Prometheus (seed 001).

prometheus_client is the model: every metric is one of its instruments in one CollectorRegistry, which checks names and
refuses clashes, and every series is a child of it, made once and kept (`metric_family`). UHLP adds two things beside
it. A kept series is written and rendered without the library's checks (`series`), and the text is made in pieces
(`exposition`), because `generate_latest` takes a second for 100,000 series, in one go; what both give is the same.

How to write, for a room or a protocol:

* The server's own metrics, names beginning with `uhlp_`: ask the Meter (`counter`, `gauge`, `histogram`) once for the
  instrument, then `instrument.labels(...).inc()`, `.set(x)`, `.observe(x, trace_id)`. They are not limited, so their
  labels must come from what is registered; series with an `appId` go when that application does.
* Records as of seed 001: `await record_many(records, writer=Writer(...))`, all or nothing.
* Totals and differences of another protocol: `write(Point(...), writer=Writer(...))`, one series, no waiting; it raises
  what is wrong with this point and changes nothing then. With `Writer(app_id="x")` the point is that application's.
  `point.is_total` sets the series (counter: number; histogram: HistogramTotals; summary: SummaryTotals with its
  quantiles), else it is added (a gauge too). Give other work its turn after some hundred points.

Limits (`config`) hold for all recorded metrics alike; what frees series again stands in `metric_store`.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from uhlp.catalogue import server
from uhlp.clock import Clock
from uhlp.errors import PayloadTooLarge, UhlpError
from uhlp.metering import Counter, Gauge, Histogram
from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.exposition import Exposition, Form, Pieces
from uhlp.metrics.metric_names import exposed_name
from uhlp.metrics.metric_store import MetricStore
from uhlp.metrics.point import Point
from uhlp.metrics.point_intake import write_point
from uhlp.metrics.record_intake import Batch, Record, RecordIntake
from uhlp.metrics.writer import Writer

_RECORDS_AT_A_TIME = 250
"""After so many records of a list other work has its turn: a millisecond, or five when all make new series."""

_ANY_WRITER = Writer()


class MetricCollector:
    """One registry for two kinds of writers: records from outside, checked and bounded; and the rooms, as a Meter.

    `schema` is schemas/metric_record.schema.json. `registry` is prometheus_client's, with all metrics in it.
    Single-threaded: every method is called on the event loop.
    """

    def __init__(self, *, schema: Mapping[str, Any], config: MetricsConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._store = MetricStore(config=config, clock=clock)
        self.registry = self._store.registry
        self._intake = RecordIntake(schema=schema, store=self._store, config=config)
        self._exposition = Exposition(self._store.families)
        self._long_list = asyncio.Lock()
        self._accepted = server.METRIC_RECORDS.on(self).labels()
        self._refused = server.METRIC_RECORDS_REFUSED.on(self)
        self._series = server.METRIC_SERIES.on(self).labels()

    async def record_metric(self, metric_data: Mapping[str, Any]) -> None:
        """Record one measurement (seed 001: metric_name, metric_type, value, labels?, buckets?, help?, unit?).

        A counter adds `value`, a gauge is set to it, histogram and summary observe it. Dots in names become
        underscores. `unit` is shown as UNIT where the name ends with it, else in HELP; `timestamp` is accepted and not
        exposed. Raises ValidationFailed (details.problems), MetricConflict, CardinalityLimit.
        """
        await self.record_many([metric_data])

    async def record_many(self, records: Sequence[Record], *, writer: Writer = _ANY_WRITER) -> int:
        """Record all of them or, when one is refused, none; the error's details name its `index`. Returns how many.

        Raises what `record_metric` does, PermissionDenied for a series of another application than the writer's.
        """
        if len(records) > self._config.max_records:
            raise PayloadTooLarge(f"{len(records)} records; the limit is {self._config.max_records} in one list.")
        batch = Batch(writer)
        try:
            if len(records) <= _RECORDS_AT_A_TIME:
                self._intake.plan(records, batch, first=0)
                self._apply(batch.planned)
            else:
                async with self._long_list:
                    await self._record_in_turns(records, batch)
        except UhlpError as error:
            self._store.take_back(batch.made)
            self._refused.labels(error.code).inc(len(records))
            raise
        except BaseException:  # cancelled between two turns
            self._store.take_back(batch.made)
            raise
        self._accepted.inc(len(records))
        return len(records)

    async def _record_in_turns(self, records: Sequence[Record], batch: Batch) -> None:
        for first in range(0, len(records), _RECORDS_AT_A_TIME):
            self._intake.plan(records[first : first + _RECORDS_AT_A_TIME], batch, first=first)
            await asyncio.sleep(0)
        self._apply(batch.planned)

    def _apply(self, planned: Sequence[tuple[Any, float]]) -> None:
        """In one go, 10,000 in 5 ms: no scrape sees half a list."""
        now_s = self._clock.monotonic()
        for series, value in planned:
            series.record(value)
            series.written_s = now_s
        self._series.set(self._store.cardinality.series)

    def write(self, point: Point, *, writer: Writer = _ANY_WRITER) -> None:
        """Set or add one number of one series. Raises ValidationFailed, MetricConflict, CardinalityLimit,
        PermissionDenied, each with details; nothing has changed then.
        """
        try:
            write_point(point, store=self._store, config=self._config, writer=writer, now_s=self._clock.monotonic())
        except UhlpError as error:
            self._refused.labels(error.code).inc()
            raise
        self._accepted.inc()
        self._series.set(self._store.cardinality.series)

    def label_names(self, name: str, metric_type: str) -> tuple[str, ...] | None:
        """The labels of a recorded metric, None while there is none of this name. Raises ValidationFailed."""
        family = self._store.families.get(exposed_name(name, metric_type))
        return None if family is None else family.label_names

    async def run_cycle(self, app_ids: Collection[str]) -> None:
        """Free what is over; `app_ids` are the applications there are."""
        await self._store.run_cycle(app_ids)
        self._series.set(self._store.cardinality.series)

    async def latest(self, form: Form) -> Pieces:
        """All metrics as a scrape wants them, in pieces; those who ask while it is being made get the same answer."""
        return await self._exposition.latest(form)

    def generate_latest_metrics(self, *, is_openmetrics: bool = False) -> bytes:
        """All metrics in Prometheus' text format (TEXT_TYPE), or as OpenMetrics, in one go."""
        return self._exposition.whole(is_openmetrics=is_openmetrics)

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        """The counter of this name, made on first use. Raises MetricConflict when it exists with another shape."""
        return self._store.own_metric(name, "counter", help_text, labels)

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        """The gauge of this name, made on first use. Raises MetricConflict as `counter` does."""
        return self._store.own_metric(name, "gauge", help_text, labels)

    def histogram(
        self, name: str, help_text: str, labels: Sequence[str] = (), buckets: Sequence[float] = ()
    ) -> Histogram:
        """The histogram of this name, made on first use; default buckets run from 5 ms to 10 s, in seconds."""
        return self._store.own_metric(name, "histogram", help_text, labels, buckets)
