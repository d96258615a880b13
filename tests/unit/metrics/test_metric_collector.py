"""The collector takes what it is given as a whole, shows it to Prometheus, and stays within its bounds."""

import asyncio
from functools import reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from uhlp.clock import FakeClock
from uhlp.errors import CardinalityLimit, MetricConflict, PayloadTooLarge, ValidationFailed
from uhlp.jsonschemas import schema_file
from uhlp.metrics import Form, MetricCollector, MetricsConfig, Writer

SCHEMA = schema_file("metric_record")


def collector(**limits: int) -> MetricCollector:
    return MetricCollector(schema=SCHEMA, config=MetricsConfig(**limits), clock=FakeClock())


def record(name: str = "app.custom.orders", kind: str = "counter", value: float = 1, **more: Any) -> dict[str, Any]:
    return {"metric_name": name, "metric_type": kind, "value": value, **more}


def samples(metrics: MetricCollector) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a Prometheus server would read, without the server's own metrics."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.generate_latest_metrics().decode())
        for sample in family.samples
        if not sample.name.startswith("uhlp_")
    }


async def test_each_type_is_shown_as_prometheus_has_it() -> None:
    metrics = collector()
    shop = {"labels": {"appId": "shop"}}
    for value in (2, 3):
        await metrics.record_metric(record("orders", "counter", value, **shop))
        await metrics.record_metric(record("queue", "gauge", value, **shop))
        await metrics.record_metric(record("wait", "histogram", value, buckets=[1, 2.5], **shop))
        await metrics.record_metric(record("size", "summary", value, **shop))
    label = (("appId", "shop"),)
    assert samples(metrics) == {
        ("orders_total", label): 5,
        ("queue", label): 3,
        ("wait_bucket", (*label, ("le", "1.0"))): 0,
        ("wait_bucket", (*label, ("le", "2.5"))): 1,
        ("wait_bucket", (*label, ("le", "+Inf"))): 2,
        ("wait_count", label): 2,
        ("wait_sum", label): 5,
        ("size_count", label): 2,
        ("size_sum", label): 5,
    }


async def test_dots_become_underscores_and_help_is_shown_with_the_unit() -> None:
    metrics = collector()
    await metrics.record_metric(
        record("app.custom.orders_total", labels={"shop.name": "x"}, help="Orders", unit="pieces")
    )
    await metrics.record_metric(record("app.custom.orders", labels={"shop.name": "x"}))
    text = metrics.generate_latest_metrics().decode()
    assert "# HELP app_custom_orders_total Orders (pieces)\n" in text
    assert 'app_custom_orders_total{shop_name="x"} 2.0\n' in text


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b.c"]), st.text(max_size=20)),
        st.lists(st.floats(0, 1e12), min_size=1, max_size=4),
        max_size=8,
    )
)
async def test_what_prometheus_reads_is_what_was_recorded(recorded: dict[tuple[str, str], list[float]]) -> None:
    metrics = collector()
    await metrics.record_many(
        [record(n, value=v, labels={"who": who}) for (n, who), values in recorded.items() for v in values]
    )
    expected = {
        (f"{n.replace('.', '_')}_total", (("who", who),)): reduce(add, values)  # `sum` is more exact since Python 3.12
        for (n, who), values in recorded.items()
    }
    assert samples(metrics) == expected


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"metric_type": "counter", "value": 1}, ""),
        (record(kind="timer"), "/metric_type"),
        (record(name="1st"), "/metric_name"),
        (record(value="1"), "/value"),
        (record(value=True), "/value"),
        (record(labels={"a": 1}), "/labels/a"),
        (record(colour="red"), ""),
    ],
)
async def test_records_against_the_schema_are_refused_with_the_field(wrong: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        await collector().record_many([record(), wrong])
    assert refusal.value.details["index"] == 1
    assert refusal.value.details["problems"][0]["path"] == path


@pytest.mark.parametrize(
    "wrong",
    [
        record(value=-1),
        record(value=float("nan")),
        record(kind="gauge", value=float("inf")),
        record(labels={"__name__": "x"}),
        record(labels={"a-b": "x"}),
        record(labels={"a.b": "x", "a_b": "y"}),
        record(kind="histogram", labels={"le": "1"}),
        record(kind="summary", labels={"quantile": "1"}),
        record(kind="histogram", buckets=[2, 1]),
        record(buckets=[1, 2]),
        record(labels={"a": "x" * 501}),
        record(labels={f"l{n}": "x" for n in range(21)}),
        record(name="uhlp_metric_records"),
    ],
)
async def test_records_that_prometheus_could_not_hold_are_refused(wrong: dict[str, Any]) -> None:
    metrics = collector()
    with pytest.raises(ValidationFailed):
        await metrics.record_metric(wrong)
    assert samples(metrics) == {}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (record("wait", "gauge", labels={"appId": "x"}), "exists as histogram {appId} with buckets 1, 2, inf"),
        (record("wait", "histogram"), "this one is histogram {}"),
        (record("wait", "histogram", labels={"appId": "x"}, buckets=[1, 3]), "with buckets 1, 3, inf"),
        (record("wait_sum", "gauge"), "cannot stand beside"),
    ],
)
async def test_a_metric_keeps_its_shape_and_the_conflict_names_both(other: dict[str, Any], message: str) -> None:
    metrics = collector()
    await metrics.record_metric(record("wait", "histogram", labels={"appId": "x"}, buckets=[1, 2]))
    before = metrics.generate_latest_metrics().split(b"# HELP wait")[1]
    with pytest.raises(MetricConflict) as conflict:
        await metrics.record_metric(other)
    assert message in conflict.value.message
    assert metrics.generate_latest_metrics().split(b"# HELP wait")[1] == before


async def test_a_list_is_recorded_as_a_whole_or_not_at_all() -> None:
    metrics = collector()
    await metrics.record_metric(record("known"))
    good = [record("known"), record("fresh", "gauge"), record("fresh", "gauge", 5)]
    with pytest.raises(MetricConflict) as conflict:
        await metrics.record_many([*good, record("fresh", "counter")])
    assert conflict.value.details["index"] == 3
    assert samples(metrics) == {("known_total", ()): 1}
    assert await metrics.record_many(good) == 3
    await metrics.record_metric(record("known"))
    assert samples(metrics) == {("known_total", ()): 3, ("fresh", ()): 5}


async def test_label_sets_are_limited_per_metric_and_application() -> None:
    metrics = collector(max_label_sets=2)
    for app_id in ("a", "b"):
        for user in ("1", "2", "1"):
            await metrics.record_metric(record(labels={"appId": app_id, "user": user}))
        with pytest.raises(CardinalityLimit):
            await metrics.record_metric(record(labels={"appId": app_id, "user": "3"}))
    with pytest.raises(CardinalityLimit):
        await metrics.record_many([record("other", labels={"user": str(n)}) for n in range(3)])
    assert len(samples(metrics)) == 4
    assert b'uhlp_metric_records_refused_total{code="CARDINALITY_LIMIT"} 5.0' in metrics.generate_latest_metrics()


async def test_metrics_series_and_lists_are_limited() -> None:
    few = collector(max_metrics=2, max_series=3, max_records=2)
    with pytest.raises(PayloadTooLarge):
        await few.record_many([record()] * 3)
    await few.record_many([record("a"), record("b", labels={"x": "1"})])
    with pytest.raises(CardinalityLimit, match="2 metrics"):
        await few.record_metric(record("c"))
    await few.record_metric(record("b", labels={"x": "2"}))
    with pytest.raises(CardinalityLimit, match="3 series"):
        await few.record_metric(record("b", labels={"x": "3"}))


async def test_rooms_count_through_it_as_a_meter() -> None:
    metrics = collector()
    requests = metrics.counter("requests", "Requests", ("handler",))
    requests.labels("jit").inc()
    assert metrics.counter("requests", "Requests", ("handler",)).labels("jit") is requests.labels("jit")
    metrics.gauge("in_flight", "In flight").labels().inc(2)
    metrics.gauge("in_flight", "In flight").labels().dec()
    metrics.histogram("latency_seconds", "Latency", ("handler",), (0.1, 1)).labels("jit").observe(0.5)
    shown = samples(metrics)
    assert shown["requests_total", (("handler", "jit"),)] == 1
    assert shown["in_flight", ()] == 1
    assert shown["latency_seconds_bucket", (("handler", "jit"), ("le", "1.0"))] == 1
    with pytest.raises(MetricConflict):
        metrics.counter("requests", "Requests", ("handler", "app"))


async def test_one_caller_cannot_use_up_the_series_and_metrics_of_all() -> None:
    metrics = collector(max_app_series=3, max_app_metrics=2)
    known = {"writer": Writer(applications={"shop"})}
    await metrics.record_many([record("a", labels={"appId": f"made-up-{n}"}) for n in range(3)], **known)
    with pytest.raises(CardinalityLimit, match="without a registered application"):
        await metrics.record_many([record("a", labels={"appId": "another"})], **known)
    await metrics.record_many([record("a", labels={"appId": "shop"})], **known)
    with pytest.raises(CardinalityLimit):
        await metrics.record_many([record("b")], **known)
    with pytest.raises(CardinalityLimit, match="has made 2 metrics"):
        await collector(max_app_metrics=2).record_many([record(f"m{n}") for n in range(3)], **known)
    await metrics.record_many([record("c", labels={"appId": "shop"})], **known)


async def test_metrics_of_a_refused_list_are_not_counted() -> None:
    metrics = collector(max_app_metrics=1)
    for _ in range(3):
        with pytest.raises(MetricConflict):
            await metrics.record_many([record("a"), record("a", "gauge")])
    await metrics.record_metric(record("b"))


async def test_a_long_list_lets_other_work_have_its_turn_and_stays_whole() -> None:
    metrics = collector()
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    good = [record("a", labels={"n": str(n % 900)}) for n in range(5_000)]
    with pytest.raises(MetricConflict):
        await metrics.record_many([*good, record("a", "gauge")])
    assert samples(metrics) == {}
    assert turns > 10
    recorded = await asyncio.gather(metrics.record_many(good), metrics.record_many(good))
    task.cancel()
    assert recorded == [5_000, 5_000]
    assert sum(samples(metrics).values()) == 10_000


async def test_scrapes_at_the_same_time_share_one_reading() -> None:
    metrics = collector()
    first, second = await asyncio.gather(metrics.latest(Form()), metrics.latest(Form()))
    assert first is second
    await metrics.record_metric(record())
    assert b"app_custom_orders_total 1.0" in b"".join(await metrics.latest(Form()))
