"""OtlpIntake: the points of one request into their series, as far as they can be taken."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from uhlp.errors import UhlpError, ValidationFailed
from uhlp.metrics.metric_collector import MetricCollector
from uhlp.metrics.metric_names import APPLICATION_LABEL
from uhlp.metrics.otlp.labels import resource_labels, scope_labels
from uhlp.metrics.otlp.translation import points_of
from uhlp.metrics.point import Point
from uhlp.metrics.writer import Writer

_POINTS_AT_A_TIME = 100
"""After so many points other work has its turn: two milliseconds."""
_MOST_REASONS = 5
_LONGEST_REASON = 300


class OtlpIntake:
    """Writes on the event loop, in turns with other work."""

    def __init__(self, *, metrics: MetricCollector) -> None:
        self._metrics = metrics

    async def write(self, request: ExportMetricsServiceRequest, *, writer: Writer) -> tuple[int, str]:
        """How many data points were refused, and why (empty when none was). The others are written."""
        refused = _Refused()
        for done, point in enumerate(self._points(request, writer), 1):
            try:
                if isinstance(point, UhlpError):
                    raise point
                self._metrics.write(point, writer=writer)
            except UhlpError as error:
                refused.add(error.message)
            if done % _POINTS_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return refused.points, refused.in_words()

    def _points(self, request: ExportMetricsServiceRequest, writer: Writer) -> Iterator[Point | UhlpError]:
        for resource in request.resource_metrics:
            of_resource = resource_labels(resource.resource.attributes)
            for scope in resource.scope_metrics:
                common = {**of_resource, **scope_labels(scope.scope)}
                for metric in scope.metrics:
                    owned = [_owned(point, writer) for point in points_of(metric, common)]
                    yield from self._with_equal_labels(owned)

    def _with_equal_labels(self, points: list[Point | UhlpError]) -> Iterator[Point | UhlpError]:
        """A metric has one set of labels here: that of the metric that is there, else of all these points together."""
        found = [point for point in points if isinstance(point, Point)]
        absent = dict.fromkeys(sorted({label for point in found for label in point.labels}), "")
        for point in points:
            if isinstance(point, UhlpError):
                yield point
                continue
            try:
                known = self._metrics.label_names(point.name, point.metric_type)
            except UhlpError as error:
                yield error
            else:
                filled = absent if known is None else dict.fromkeys(known, "")
                yield replace(point, labels={**filled, **point.labels})


def _owned(point: Point | UhlpError, writer: Writer) -> Point | UhlpError:
    """With the labels that are known of the writer."""
    if isinstance(point, UhlpError):
        return point
    try:
        labels = writer.own(point.labels)
    except UhlpError as error:
        return error
    app_id = labels.get(APPLICATION_LABEL)
    if app_id is None:
        return ValidationFailed(
            f"{APPLICATION_LABEL} is missing: give it as an attribute of the point or the resource, or send with an "
            "application's key."
        )
    if writer.applications is not None and app_id not in writer.applications:
        return ValidationFailed(f"There is no application '{app_id[:100]}'.")
    return replace(point, labels=labels)


class _Refused:
    """Counts points that were refused, and the first reasons."""

    def __init__(self) -> None:
        self.points = 0
        self._reasons: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        self.points += 1
        reason = reason[:_LONGEST_REASON]
        if reason in self._reasons or len(self._reasons) < _MOST_REASONS:
            self._reasons[reason] += 1

    def in_words(self) -> str:
        told = [reason if count == 1 else f"{reason} ({count} points)" for reason, count in self._reasons.items()]
        more = self.points - self._reasons.total()
        return " ".join(told) + (f" And {more} points for other reasons." if more else "")
