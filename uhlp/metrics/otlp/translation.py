"""One OTLP metric as points: its type, whether its values are totals, its labels."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from uhlp.errors import UhlpError, ValidationFailed
from uhlp.metrics.otlp.labels import labels_of
from uhlp.metrics.otlp.values import exponential_value, histogram_value, number_value, summary_value
from uhlp.metrics.point import Point, SummaryTotals

_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_:.]")
_NO_RECORDED_VALUE = otlp.DataPointFlags.DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK
_VALUES: dict[str, Callable[[Any], Any]] = {
    "gauge": number_value,
    "sum": number_value,
    "histogram": histogram_value,
    "exponential_histogram": exponential_value,
    "summary": summary_value,
}


class _Kind(NamedTuple):
    metric_type: str
    is_total: bool


def points_of(metric: otlp.Metric, common: Mapping[str, str]) -> Iterator[Point | UhlpError]:
    """Each data point, or why it cannot be taken; `common` are labels of resource and scope.

    A point that says it has no value is left out.
    """
    kind = metric.WhichOneof("data")
    if kind is None:
        return
    data = getattr(metric, kind)
    try:
        shape = _shape(kind, data)
    except UhlpError as error:
        yield from (error for _ in data.data_points)
        return
    name = _NOT_IN_A_NAME.sub("_", metric.name)
    for point in data.data_points:
        if point.flags & _NO_RECORDED_VALUE:
            continue
        try:
            value = _VALUES[kind](point)
        except UhlpError as error:
            yield error
            continue
        yield Point(
            name=name,
            metric_type="summary" if isinstance(value, SummaryTotals) else shape.metric_type,
            value=value,
            is_total=shape.is_total,
            labels={**common, **labels_of(point.attributes)},
            unit=metric.unit,
            help_text=metric.description,
        )


def _shape(kind: str, data: Any) -> _Kind:
    if kind in ("gauge", "summary"):
        return _Kind(kind, is_total=True)
    is_total = data.aggregation_temporality == otlp.AGGREGATION_TEMPORALITY_CUMULATIVE
    if not is_total and data.aggregation_temporality != otlp.AGGREGATION_TEMPORALITY_DELTA:
        raise ValidationFailed(f"A {kind} needs an aggregation temporality: delta or cumulative.")
    if kind == "sum":
        return _Kind("counter" if data.is_monotonic else "gauge", is_total)
    return _Kind("histogram", is_total)
