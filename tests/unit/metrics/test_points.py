"""Numbers that other protocols have counted: set or added, in the name of an application, within the same limits."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from uhlp.clock import FakeClock
from uhlp.errors import CardinalityLimit, MetricConflict, PermissionDenied, UhlpError, ValidationFailed
from uhlp.jsonschemas import schema_file
from uhlp.metrics import HistogramTotals, MetricCollector, MetricsConfig, Point, SummaryTotals, Writer

SHOP = Writer(applications={"shop"}, app_id="shop")


def collector(**limits: Any) -> MetricCollector:
    return MetricCollector(schema=schema_file("metric_record"), config=MetricsConfig(**limits), clock=FakeClock())


def shown(metrics: MetricCollector) -> dict[str, float]:
    """Values by name and labels, without the server's own."""
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.generate_latest_metrics().decode())
        for sample in family.samples
        if not sample.name.startswith("uhlp_")
    }


def point(kind: str, value: Any, *, is_total: bool = True, name: str = "jobs", **labels: str) -> Point:
    return Point(name=name, metric_type=kind, value=value, is_total=is_total, labels=labels)


def test_totals_replace_and_differences_add() -> None:
    metrics = collector()
    two = HistogramTotals((1.0,), (1, 2), 5.0)
    for name, is_total in (("set", True), ("added", False)):
        for _ in range(2):
            metrics.write(point("counter", 3, is_total=is_total, name=f"c_{name}"))
            metrics.write(point("gauge", -2, is_total=is_total, name=f"g_{name}"))
            metrics.write(point("histogram", two, is_total=is_total, name=f"h_{name}"))
            metrics.write(point("summary", SummaryTotals(4, 8, ((0.5, 2),)), is_total=is_total, name=f"s_{name}"))
    assert shown(metrics) == {
        "c_set_total": 3, "g_set": -2, "c_added_total": 6, "g_added": -4,
        "h_set_bucket le=1.0": 1, "h_set_bucket le=+Inf": 3, "h_set_count": 3, "h_set_sum": 5,
        "h_added_bucket le=1.0": 2, "h_added_bucket le=+Inf": 6, "h_added_count": 6, "h_added_sum": 10,
        "s_set quantile=0.5": 2, "s_set_count": 4, "s_set_sum": 8, "s_added_count": 8, "s_added_sum": 16,
    }  # fmt: skip


def test_a_point_carries_its_writers_application_and_no_other() -> None:
    metrics = collector()
    metrics.write(point("counter", 1, zone="a"), writer=SHOP)
    metrics.write(point("counter", 2, zone="b", appId="shop"), writer=SHOP)
    with pytest.raises(PermissionDenied):
        metrics.write(point("counter", 2, zone="b", appId="bank"), writer=SHOP)
    assert shown(metrics) == {"jobs_total appId=shop zone=a": 1, "jobs_total appId=shop zone=b": 2}


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (point("counter", -1), ValidationFailed),
        (point("counter", float("nan")), ValidationFailed),
        (point("counter", float("inf")), ValidationFailed),
        (point("counter", two := HistogramTotals((1.0,), (1, 2), 5.0)), ValidationFailed),
        (point("gauge", two), ValidationFailed),
        (point("histogram", 1), ValidationFailed),
        (point("histogram", HistogramTotals((1.0,), (1, 2, 3), 5.0)), ValidationFailed),
        (point("histogram", HistogramTotals((1.0,), (1, -2), 5.0)), ValidationFailed),
        (point("histogram", HistogramTotals((2.0, 1.0), (1, 2, 3), 5.0)), ValidationFailed),
        (point("histogram", HistogramTotals((), (1,), 5.0)), ValidationFailed),
        (point("histogram", HistogramTotals(tuple(range(201)), (0,) * 202, 5.0)), ValidationFailed),
        (point("summary", SummaryTotals(1, 1, ((1.5, 1),))), ValidationFailed),
        (point("summary", SummaryTotals(-1, 1)), ValidationFailed),
        (point("gauge", 1, name="uhlp_own"), ValidationFailed),
        (point("gauge", 1, name="a-b"), ValidationFailed),
        (point("gauge", 1, **{"a-b": "x"}), ValidationFailed),
        (point("gauge", 1, a="x" * 501), ValidationFailed),
        (point("gauge", 1, name="known"), MetricConflict),
        (point("counter", 1, name="known", a="b"), MetricConflict),
    ],
)
def test_a_wrong_point_is_refused_and_changes_nothing(wrong: Point, error: type[UhlpError]) -> None:
    metrics = collector()
    metrics.write(point("counter", 1, name="known"))
    with pytest.raises(error):
        metrics.write(wrong)
    assert shown(metrics) == {"known_total": 1}


def test_points_count_against_the_limits_of_records() -> None:
    metrics = collector(max_label_sets=2)
    for user in ("1", "2"):
        metrics.write(point("counter", 1, user=user), writer=SHOP)
    with pytest.raises(CardinalityLimit):
        metrics.write(point("counter", 1, user="3"), writer=SHOP)
    metrics.write(point("counter", 2, user="2"), writer=SHOP)
    assert shown(metrics) == {"jobs_total appId=shop user=1": 1, "jobs_total appId=shop user=2": 2}
    with pytest.raises(CardinalityLimit):
        collector(max_app_series=10).write(point("histogram", HistogramTotals(tuple(range(9)), (0,) * 10, 0)))
