"""Memory does not grow with what comes and goes: series end with their application, or when nobody writes them."""

import asyncio
from typing import Any

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import CardinalityLimit, MetricConflict
from uhlp.jsonschemas import schema_file
from uhlp.metrics import MetricCollector, MetricsConfig, Writer

DAY_S = 86_400


def collector(clock: FakeClock, **limits: Any) -> MetricCollector:
    return MetricCollector(schema=schema_file("metric_record"), config=MetricsConfig(**limits), clock=clock)


def record(name: str, kind: str = "counter", value: float = 1, **labels: str) -> dict[str, Any]:
    return {"metric_name": name, "metric_type": kind, "value": value, "labels": labels}


def lines(metrics: MetricCollector) -> list[str]:
    """The series, without the collector's own."""
    text = metrics.generate_latest_metrics().decode()
    return [line for line in text.splitlines() if not line.startswith(("#", "uhlp_metric_"))]


async def test_a_deregistered_application_takes_its_series_along_recorded_and_own() -> None:
    metrics = collector(FakeClock())
    requests = metrics.counter("uhlp_requests", "Requests", ("appId",))
    for app_id in ("shop", "bank"):
        requests.labels(app_id).inc()
        await metrics.record_metric(record("orders", appId=app_id))
        await metrics.record_metric(record(f"only_{app_id}", "gauge", appId=app_id))
    await metrics.record_many([record("orders", appId="bank")], writer=Writer(applications=()))
    await metrics.run_cycle(["shop", "bank"])
    assert len(lines(metrics)) == 6
    await metrics.run_cycle(["shop"])
    assert lines(metrics) == [
        'uhlp_requests_total{appId="shop"} 1.0', 'orders_total{appId="shop"} 1.0', 'only_shop{appId="shop"} 1.0'
    ]  # fmt: skip
    requests.labels("bank").inc()  # a request that was in flight
    await metrics.run_cycle(["shop"])
    assert 'uhlp_requests_total{appId="bank"} 1.0' not in lines(metrics)
    requests.labels("bank").inc(5)  # it is registered again
    await metrics.run_cycle(["shop", "bank"])
    assert 'uhlp_requests_total{appId="bank"} 5.0' in lines(metrics)


async def test_what_nobody_has_written_for_a_day_is_forgotten_and_makes_room() -> None:
    clock = FakeClock()
    metrics = collector(clock, max_label_sets=2, max_metrics=2)
    await metrics.record_many([record("a", pod="1"), record("a", pod="2"), record("b")])
    clock.advance(DAY_S - 1)
    await metrics.record_metric(record("a", pod="2"))
    clock.advance(2)
    await metrics.run_cycle([])
    assert lines(metrics) == ['a_total{pod="2"} 2.0']
    await metrics.record_many([record("a", pod="3"), record("c", "gauge")])
    with pytest.raises(CardinalityLimit):
        await metrics.record_metric(record("a", pod="4"))


async def test_a_metric_that_is_gone_may_come_back_in_another_shape() -> None:
    clock = FakeClock()
    metrics = collector(clock)
    await metrics.record_metric(record("a", zone="x"))
    with pytest.raises(MetricConflict):
        await metrics.record_metric(record("a", "gauge", zone="x"))
    clock.advance(DAY_S + 1)
    await metrics.run_cycle([])
    await metrics.record_metric(record("a", "gauge", 7, place="y"))
    assert lines(metrics) == ['a{place="y"} 7.0']


async def test_the_servers_own_metrics_without_an_application_stay() -> None:
    clock = FakeClock()
    metrics = collector(clock)
    metrics.counter("uhlp_loops", "Loops", ("loop",)).labels("x").inc()
    metrics.gauge("uhlp_level", "Level").labels().set(2)
    clock.advance(10 * DAY_S)
    await metrics.run_cycle([])
    assert lines(metrics) == ['uhlp_loops_total{loop="x"} 1.0', "uhlp_level 2.0"]


async def test_lists_that_are_refused_leave_nothing_behind() -> None:
    metrics = collector(FakeClock(), max_metrics=3, max_series=10)
    for number in range(300):
        with pytest.raises(MetricConflict):
            await metrics.record_many([record(f"m{number}", pod=str(number)), record("a"), record("a", "gauge")])
    assert lines(metrics) == []
    assert "uhlp_metric_series 0.0" in metrics.generate_latest_metrics().decode()
    await metrics.record_many([record("a"), record("b"), record("c")])


async def test_a_list_whose_sender_leaves_halfway_is_not_recorded_and_holds_nobody_up() -> None:
    metrics = collector(FakeClock())
    long = [record("a", n=str(number % 500)) for number in range(5_000)]
    leaving = asyncio.create_task(metrics.record_many(long))
    for _ in range(3):
        await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert lines(metrics) == []
    assert await metrics.record_many(long) == 5_000
    assert len(lines(metrics)) == 500


async def test_a_record_beside_a_long_list_that_is_refused_is_kept() -> None:
    metrics = collector(FakeClock())
    long = [record("a", n=str(number % 500)) for number in range(5_000)]
    refused = asyncio.create_task(metrics.record_many([*long, record("a", "gauge", n="1")]))
    await asyncio.sleep(0)
    await metrics.record_metric(record("a", n="7"))
    with pytest.raises(MetricConflict):
        await refused
    assert lines(metrics) == ['a_total{n="7"} 1.0']
