"""What a data point says, as the value of a series. Every function raises ValidationFailed."""

from bisect import bisect_left
from math import isfinite

from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    NumberDataPoint,
    SummaryDataPoint,
)

from uhlp.errors import ValidationFailed
from uhlp.metrics.point import HistogramTotals, SummaryTotals

_LOWEST, _HIGHEST = -10, 30
EXPONENTIAL_BOUNDS = tuple(2.0**exponent for exponent in range(_LOWEST, _HIGHEST + 1))
"""Scales change from export to export, a Prometheus histogram's bounds do not; these hold what any scale from 0 on
says, exactly, in buckets of a factor of two."""
_COARSEST, _FINEST = -10, 20


def number_value(point: NumberDataPoint) -> float:
    """Of a gauge or a sum."""
    kind = point.WhichOneof("value")
    if kind is None:
        raise ValidationFailed("A point has no value.")
    return _finite(float(getattr(point, kind)), "value")


def histogram_value(point: HistogramDataPoint) -> HistogramTotals | SummaryTotals:
    """Its buckets; count and sum alone where it has none."""
    total = _finite(point.sum, "sum") if point.HasField("sum") else 0.0
    counts = tuple(float(count) for count in point.bucket_counts)
    if not point.explicit_bounds:
        return SummaryTotals(count=float(point.count), sum=total)
    if sum(point.bucket_counts) != point.count:
        raise ValidationFailed("A histogram's count is not the sum of its buckets.")
    return HistogramTotals(bounds=tuple(point.explicit_bounds), counts=counts, sum=total)


def exponential_value(point: ExponentialHistogramDataPoint) -> HistogramTotals:
    """Its buckets gathered under `EXPONENTIAL_BOUNDS`; what is negative lies below the first."""
    scale, positive = point.scale, point.positive
    if not _COARSEST <= scale <= _FINEST:
        raise ValidationFailed(f"The scale of an exponential histogram is from {_COARSEST} to {_FINEST}, not {scale}.")
    counts = [0] * (len(EXPONENTIAL_BOUNDS) + 1)
    counts[0] = sum(point.negative.bucket_counts)
    counts[bisect_left(EXPONENTIAL_BOUNDS, _finite(point.zero_threshold, "zero_threshold"))] += point.zero_count
    for index, count in enumerate(positive.bucket_counts, positive.offset):
        upper = (index >> scale) + 1 if scale >= 0 else (index + 1) << -scale  # values of the bucket are <= 2**upper
        counts[min(max(upper - _LOWEST, 0), len(EXPONENTIAL_BOUNDS))] += count
    if sum(counts) != point.count:
        raise ValidationFailed("An exponential histogram's count is not the sum of its buckets.")
    total = _finite(point.sum, "sum") if point.HasField("sum") else 0.0
    return HistogramTotals(bounds=EXPONENTIAL_BOUNDS, counts=tuple(float(count) for count in counts), sum=total)


def summary_value(point: SummaryDataPoint) -> SummaryTotals:
    """Count, sum and quantiles."""
    quantiles = tuple((one.quantile, one.value) for one in point.quantile_values)
    return SummaryTotals(count=float(point.count), sum=_finite(point.sum, "sum"), quantiles=quantiles)


def _finite(value: float, name: str) -> float:
    if not isfinite(value):
        raise ValidationFailed(f"A point's {name} is {value}.")
    return value
