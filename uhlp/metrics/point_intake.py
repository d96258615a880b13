"""write_point: one Point to its series, within the limits of all recorded metrics."""

from collections.abc import Sequence
from math import isfinite

from uhlp.errors import UhlpError, ValidationFailed
from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.metric_names import check_label_values, checked_buckets, exposed_labels, exposed_name
from uhlp.metrics.metric_store import MetricStore
from uhlp.metrics.point import HistogramTotals, Point, SummaryTotals
from uhlp.metrics.writer import Writer

MOST_QUANTILES = 20
MOST_BOUNDS = 200


def write_point(point: Point, *, store: MetricStore, config: MetricsConfig, writer: Writer, now_s: float) -> None:
    """Raises ValidationFailed, MetricConflict, CardinalityLimit, PermissionDenied; nothing has changed then."""
    labels = writer.own(point.labels)
    name = exposed_name(point.name, point.metric_type)
    exposed = exposed_labels(labels, point.metric_type, at_most=config.max_labels)
    check_label_values(exposed, config.max_label_length)
    buckets = _checked_value(point)
    owner, values = writer.share(labels), tuple(exposed.values())
    family = store.metric(
        name, point.metric_type, tuple(exposed),
        buckets=buckets, unit=point.unit, help_text=point.help_text, owner=owner,
    )  # fmt: skip
    try:
        series = store.series(family, values, owner)
    except UhlpError:
        store.take_back([(family, values)])
        raise
    if point.is_total:
        series.set_total(point.value)
    else:
        series.add(point.value)
    series.written_s = now_s


def _checked_value(point: Point) -> Sequence[float] | None:
    """A histogram's bounds, None for other types. Raises ValidationFailed."""
    value = point.value
    if point.metric_type == "histogram" and isinstance(value, HistogramTotals):
        bounds = checked_buckets(value.bounds)
        if len(bounds) > MOST_BOUNDS:
            raise ValidationFailed(f"{point.name} has {len(bounds)} buckets; the limit is {MOST_BOUNDS}.")
        if len(value.counts) != len(bounds):
            raise ValidationFailed(f"{point.name} has {len(bounds)} buckets and {len(value.counts)} counts.")
        _check_counts(point.name, [*value.counts])
        return bounds
    if point.metric_type == "summary" and isinstance(value, SummaryTotals):
        _check_counts(point.name, [value.count])
        if len(value.quantiles) > MOST_QUANTILES or any(not 0 <= quantile <= 1 for quantile, _ in value.quantiles):
            raise ValidationFailed(f"{point.name} may have {MOST_QUANTILES} quantiles, from 0 to 1.")
    elif point.metric_type == "counter" and isinstance(value, float | int):
        _check_counts(point.name, [value])
    elif point.metric_type != "gauge" or not isinstance(value, float | int):
        raise ValidationFailed(f"{point.name}: a {point.metric_type} cannot be {type(value).__name__}.")
    return None


def _check_counts(name: str, counts: Sequence[float]) -> None:
    if any(not isfinite(count) or count < 0 for count in counts):
        raise ValidationFailed(f"{name} counts up from 0: a count is negative or no number.")
