"""What a scrape reads is what was recorded, and the text is the one that prometheus_client makes."""

import asyncio
import gzip
from math import inf, isnan, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from uhlp.clock import FakeClock
from uhlp.jsonschemas import schema_file
from uhlp.metrics import Form, HistogramTotals, MetricCollector, MetricsConfig, Point, SummaryTotals

SCHEMA = schema_file("metric_record")
TRACE = "0af7651916cd43dd8448eb211c80319c"
NAMES = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:.]{0,20}", fullmatch=True).filter(
    lambda name: not name.replace(".", "_").startswith("uhlp_")
)
LABEL_NAMES = st.from_regex(r"[a-zA-Z][a-zA-Z0-9_.]{0,10}", fullmatch=True).filter(
    lambda name: name not in ("le", "quantile")
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(['"', "\\", "\n", '\\n"', "é"])
NUMBERS = st.floats(allow_nan=False)
SUFFIXES = ("_total", "_sum", "_count", "_bucket", "_created", "_info", "_gsum", "_gcount")


def collector(**config: Any) -> MetricCollector:
    return MetricCollector(schema=SCHEMA, config=MetricsConfig(**config), clock=FakeClock())


def fill(metrics: MetricCollector) -> None:
    """Every type, with everything that is hard to write."""
    counter = metrics.counter("requests_total", 'Help with "quotes", \\ and\nline feeds', ("zone", "appId"))
    counter.labels('a "b"\n\\', "shop").inc(2.5)
    counter.labels("é\u2028\r", "shop").inc(1e21)
    gauge = metrics.gauge("level", "", ("kind",))
    for at, value in enumerate((inf, -inf, nan, -0.0, 1e6, 999_999.5, -1e6, 1e-7, 123_456_789, 5e-324, 1.7e308)):
        gauge.labels(str(at)).set(value)
    metrics.gauge("alone", "No labels").labels().set(3)
    seconds = metrics.histogram("wait_seconds", "Wait", ("zone", "area"), (-1, 0.5, 1e7))
    for value in (-2, 0.5, 3, 1e9, inf):
        seconds.labels("x", "y").observe(value, TRACE)
    metrics.histogram("size_bytes", "Size", ("m",), (1, 2)).labels("q").observe(1.5)
    metrics.write(Point(name="lag", metric_type="summary", value=SummaryTotals(7, 9.5, ((0.5, 1), (0.99, nan))),
                        is_total=True, labels={"z": "1", "a": "2"}, unit="lag"))  # fmt: skip
    metrics.counter("never_counted", "Nothing", ("a",))


@pytest.mark.parametrize(("ours", "theirs"), [(False, generate_latest), (True, generate_openmetrics)])
async def test_the_text_is_byte_for_byte_that_of_prometheus_client(ours: bool, theirs: Any) -> None:
    metrics = collector()
    fill(metrics)
    run = {"metric_name": "jobs.run_seconds", "metric_type": "gauge", "value": 1, "unit": "seconds", "help": "x"}
    await metrics.record_metric(run)
    expected = theirs(metrics.registry)
    assert b"".join(await metrics.latest(Form(is_openmetrics=ours))) == expected
    if not ours:
        assert metrics.generate_latest_metrics() == expected
    assert b"# HELP never_counted" in expected
    assert (b"# UNIT jobs_run_seconds seconds\n" in expected) is ours
    assert (b"trace_id" in expected) is ours


@given(
    name=NAMES,
    kind=st.sampled_from(["counter", "gauge", "summary", "histogram"]),
    label_names=st.lists(LABEL_NAMES, max_size=3, unique_by=lambda name: name.replace(".", "_")),
    rows=st.lists(st.tuples(st.lists(TEXTS, min_size=3, max_size=3), NUMBERS), min_size=1, max_size=4),
    help_text=TEXTS,
)
def test_both_formats_are_read_back_as_what_was_written(
    name: str, kind: str, label_names: list[str], rows: list[tuple[list[str], float]], help_text: str
) -> None:
    metrics = collector()
    written: dict[tuple[tuple[str, str], ...], float] = {}
    for texts, number in rows:
        value = number if kind == "gauge" else abs(number)  # OpenMetrics: sums and quantiles are not negative
        if kind == "counter" and value == inf:
            value = 1e300
        labels = dict(zip(label_names, texts, strict=False))
        metrics.write(
            Point(name=name, metric_type=kind, value=totals(kind, value), is_total=True,
                  labels=labels, help_text=help_text)
        )  # fmt: skip
        written[tuple(sorted((label.replace(".", "_"), text) for label, text in labels.items()))] = value
    ours = name.replace(".", "_")
    ours = (ours.removesuffix("_total") or ours) if kind == "counter" else ours
    text = metrics.generate_latest_metrics().decode()
    openmetrics = metrics.generate_latest_metrics(is_openmetrics=True).decode()
    shown = [one for one in read_text(text) if not one.name.startswith("uhlp_")]
    expected = {key: expected_samples(ours, kind, key, value) for key, value in written.items()}
    assert samples_of(shown) == {sample for some in expected.values() for sample in some}
    if not ours.endswith(SUFFIXES):  # OpenMetrics reserves them; its parser guesses metrics from them
        read = [one for one in read_openmetrics(openmetrics) if not one.name.startswith("uhlp_")]
        assert samples_of(read) == samples_of(shown)
        assert [(one.name, one.type) for one in read] == [(ours, kind)]
        assert read[0].documentation == (help_text or "Recorded metric")


def totals(kind: str, value: float) -> Any:
    if kind == "histogram":
        return HistogramTotals((0.25, 10.0), (1, 2, 3), value)
    if kind == "summary":
        return SummaryTotals(4, value, ((0.5, value),))
    return value


def expected_samples(name: str, kind: str, labels: tuple[tuple[str, str], ...], value: float) -> set[Any]:
    def sample(suffix: str, number: float, *more: tuple[str, str]) -> Any:
        return name + suffix, tuple(sorted((*labels, *more))), number

    if kind == "counter":
        return {sample("_total", value)}
    if kind == "gauge":
        return {sample("", value)}
    if kind == "summary":
        return {sample("_count", 4), sample("_sum", value), sample("", value, ("quantile", "0.5"))}
    buckets = zip(("0.25", "10.0", "+Inf"), (1, 3, 6), strict=True)
    return {*(sample("_bucket", n, ("le", le)) for le, n in buckets), sample("_count", 6), sample("_sum", value)}


def samples_of(families: list[Any]) -> set[Any]:
    return {(one.name, tuple(sorted(one.labels.items())), one.value) for family in families for one in family.samples}


async def test_an_exemplar_names_the_trace_of_a_buckets_last_observation_in_openmetrics_alone() -> None:
    metrics = collector()
    wait = metrics.histogram("wait_seconds", "Wait", (), (0.1, 1)).labels()
    wait.observe(0.5, "a" * 32)
    wait.observe(0.6, TRACE)
    wait.observe(5)
    text = metrics.generate_latest_metrics(is_openmetrics=True).decode()
    family = next(one for one in read_openmetrics(text) if one.name == "wait_seconds")
    found = {one.labels["le"]: one.exemplar for one in family.samples if one.name == "wait_seconds_bucket"}
    assert found["0.1"] is None
    assert found["+Inf"] is None
    assert (found["1.0"].labels, found["1.0"].value) == ({"trace_id": TRACE}, 0.6)
    assert float(found["1.0"].timestamp) == FakeClock().now()
    assert TRACE not in metrics.generate_latest_metrics().decode()


async def test_an_instance_stands_on_every_series_but_those_that_have_one() -> None:
    metrics = collector(instance="blue-1")
    fill(metrics)
    metrics.gauge("own", "Own", ("instance",)).labels("mine").set(1)
    for family in read_text(metrics.generate_latest_metrics().decode()):
        for sample in family.samples:
            assert sample.labels["instance"] == ("mine" if sample.name == "own" else "blue-1")


@pytest.mark.parametrize("is_openmetrics", [False, True])
async def test_a_large_scrape_leaves_turns_to_other_work_and_is_shared(is_openmetrics: bool) -> None:
    metrics = collector()
    counter = metrics.counter("many", "Many", ("n",))
    for number in range(10_000):
        counter.labels(str(number)).inc()
    wait = metrics.histogram("wait", "Wait", ("n",))
    for number in range(500):
        wait.labels(str(number)).observe(number)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    plain = Form(is_openmetrics=is_openmetrics)
    first, second, packed = await asyncio.gather(
        metrics.latest(plain), metrics.latest(plain), metrics.latest(plain._replace(is_gzipped=True))
    )
    task.cancel()
    assert first is second
    assert turns >= 8
    theirs = generate_openmetrics if is_openmetrics else generate_latest
    assert b"".join(first) == theirs(metrics.registry) == gzip.decompress(b"".join(packed))


async def test_a_scraper_that_leaves_does_not_take_the_others_answer_away() -> None:
    metrics = collector()
    leaving = asyncio.create_task(metrics.latest(Form()))
    staying = asyncio.create_task(metrics.latest(Form()))
    await asyncio.sleep(0)
    leaving.cancel()
    assert b"uhlp_metric_records" in b"".join(await staying)


def test_what_utf8_cannot_hold_does_not_stop_a_scrape() -> None:
    metrics = collector()
    metrics.gauge("level", "Level", ("a",)).labels("\ud800").set(1)
    assert b'level{a="?"} 1.0' in metrics.generate_latest_metrics()


def test_a_gauge_may_be_no_number() -> None:
    metrics = collector()
    metrics.gauge("level", "Level").labels().set(nan)
    level = next(one for one in read_text(metrics.generate_latest_metrics().decode()) if one.name == "level")
    assert isnan(level.samples[0].value)


def test_the_servers_info_is_of_type_info_in_openmetrics() -> None:
    metrics = collector()
    metrics.gauge("uhlp_build_info", "Build", ("version",)).labels("1.2").set(1)
    text = metrics.generate_latest_metrics(is_openmetrics=True).decode()
    build = next(one for one in read_openmetrics(text) if one.type == "info")
    assert (build.name, [one.name for one in build.samples]) == ("uhlp_build", ["uhlp_build_info"])
    assert "# TYPE uhlp_build_info gauge\n" in metrics.generate_latest_metrics().decode()
