"""The catalogue follows Prometheus' rules for names, and is the only place that names a metric of the server."""

import re
from pathlib import Path

import pytest

from uhlp.catalogue import CATALOGUE, HistogramMetric, Metric
from uhlp.clock import FakeClock
from uhlp.metering import SampledGauge
from uhlp.metrics import MetricCollector, MetricsConfig

UHLP = Path(__file__).parents[3] / "uhlp"
BASE_UNITS = {"seconds": "_seconds", "bytes": "_bytes", "ratio": "_ratio", "US dollars": "_usd", "tokens": "_tokens"}
every_metric = pytest.mark.parametrize("metric", CATALOGUE.values(), ids=CATALOGUE)


@every_metric
def test_names_have_prefix_base_unit_and_the_suffix_of_their_type(metric: Metric) -> None:
    assert re.fullmatch(r"uhlp_[a-z]+(_[a-z]+)*", metric.name)
    assert metric.name.endswith("_total") == (metric.metric_type == "counter")
    if metric.unit != "1":
        assert metric.name.removesuffix("_total").endswith(BASE_UNITS[metric.unit])
    assert not re.search(r"_(ms|milliseconds|kb|mb|percent)(_|$)", metric.name)


@every_metric
def test_labels_are_named_as_the_contract_has_them_and_none_is_reserved(metric: Metric) -> None:
    assert all(re.fullmatch(r"[a-z]+([A-Z][a-z]+)*", label) for label in metric.labels)
    assert not {"le", "quantile"} & set(metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)
    if "componentId" in metric.labels:
        assert "appId" in metric.labels


@every_metric
def test_buckets_rise(metric: Metric) -> None:
    if isinstance(metric, HistogramMetric):
        assert list(metric.buckets) == sorted(set(metric.buckets))


def test_rooms_name_no_metric_outside_the_catalogue() -> None:
    named = re.compile(r"""\.(counter|gauge|histogram)\(\s*f?["']""")
    found = [str(path.relative_to(UHLP)) for path in UHLP.rglob("*.py") if named.search(path.read_text())]
    assert found == []


def test_a_sampled_gauge_shows_only_what_was_shown_last() -> None:
    metrics = MetricCollector(schema={"type": "object"}, config=MetricsConfig(), clock=FakeClock())
    gauge = SampledGauge(metrics.gauge("uhlp_things", "Things.", ("kind",)))
    gauge.show({("a",): 1.0, ("b",): 2.0})
    gauge.show({("b",): 3.0, ("c",): 4.0})
    shown = metrics.generate_latest_metrics().decode()
    assert re.findall(r'^uhlp_things\{kind="(.)"\} (.*)$', shown, re.MULTILINE) == [("b", "3.0"), ("c", "4.0")]
