"""RecordIntake: from a list of metric records (seed 001) to the series they write."""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple

from uhlp.errors import UhlpError, ValidationFailed
from uhlp.jsonschemas import compile_validator
from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.metric_family import MetricFamily
from uhlp.metrics.metric_names import check_label_values, exposed_labels, exposed_name, refused
from uhlp.metrics.metric_store import MetricStore
from uhlp.metrics.writer import Writer

_MOST_ROUTES = 5_000
_NO_LABELS: Mapping[str, str] = {}

Record = Mapping[str, Any]


class Batch:
    """What a list of records will do, once all of them are known to be good."""

    __slots__ = ("made", "planned", "writer")

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.planned: list[tuple[Any, float]] = []
        self.made: list[tuple[MetricFamily, tuple[str, ...]]] = []


class _Route(NamedTuple):
    """Where records with these names go: their metric, and how their label values are put in its order."""

    family: MetricFamily
    in_order: Callable[[tuple[str, ...]], tuple[str, ...]] | None


class RecordIntake:
    """Checks records with the schema itself, compiled once, and finds their series.

    A record of a name, type and label names that came before costs two dict lookups.
    """

    def __init__(self, *, schema: Mapping[str, Any], store: MetricStore, config: MetricsConfig) -> None:
        self._one = compile_validator(schema)
        self._many = compile_validator({"type": "array", "items": dict(schema)})
        self._store = store
        self._config = config
        self._routes: dict[tuple[str, ...], _Route] = {}
        self._removals = 0

    def plan(self, records: Sequence[Record], batch: Batch, *, first: int) -> None:
        """Add to `batch` what `records` write; the first one's index is `first`.

        Raises a UhlpError that names the index of a record that is refused; its series are in `batch.made` then too.
        """
        if self._removals != self._store.removals:
            self._routes.clear()
            self._removals = self._store.removals
        are_valid = self._many.is_valid(records)
        for index, record in enumerate(records, first):
            try:
                if not are_valid and (problems := self._one.problems(record)):
                    where = problems[0]["path"] or "the record"
                    raise ValidationFailed(f"{where}: {problems[0]['message']}", details={"problems": problems})
                batch.planned.append(self._planned(record, batch))
            except UhlpError as error:
                error.message = f"Record {index}: {error.message}"
                error.details["index"] = index
                raise

    def _planned(self, record: Record, batch: Batch) -> tuple[Any, float]:
        writer = batch.writer
        labels = record.get("labels") or _NO_LABELS
        if writer.app_id is not None:
            labels = writer.own(labels)
        metric_type, value = record["metric_type"], record["value"]
        if not isfinite(value) or (metric_type == "counter" and value < 0):
            raise refused("/value", f"{value} is no value for a {metric_type}.")
        route = self._routes.get((record["metric_name"], metric_type, *labels))
        if route is None or "buckets" in record or "unit" in record:
            route = self._new_route(record, labels, writer.share(labels), batch)
        values = tuple(labels.values())
        if route.in_order is not None:
            values = route.in_order(values)
        series = route.family.series.get(values)
        if series is None:
            check_label_values(labels, self._config.max_label_length)
            batch.made.append((route.family, values))
            series = self._store.series(route.family, values, writer.share(labels))
        return series, value

    def _new_route(self, record: Record, labels: Mapping[str, str], owner: str, batch: Batch) -> _Route:
        metric_type, buckets = record["metric_type"], record.get("buckets")
        if buckets is not None and metric_type != "histogram":
            raise refused("/buckets", f"A {metric_type} has no buckets.")
        name = exposed_name(record["metric_name"], metric_type)
        label_names = tuple(exposed_labels(labels, metric_type, at_most=self._config.max_labels))
        family = self._store.metric(
            name, metric_type, label_names,
            buckets=buckets, unit=record.get("unit") or "", help_text=record.get("help") or "", owner=owner,
        )  # fmt: skip
        batch.made.append((family, ()))
        given = [label.replace(".", "_") for label in labels]
        order = [given.index(label) for label in label_names]
        route = _Route(family, itemgetter(*order) if order != sorted(order) else None)
        if len(self._routes) >= _MOST_ROUTES:
            self._routes.clear()
        self._routes[record["metric_name"], metric_type, *labels] = route
        return route
