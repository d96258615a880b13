"""OTLP metrics become the series they are, and what cannot is refused point by point."""

import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from prometheus_client.parser import text_string_to_metric_families

from tests.otlp_requests import (
    CUMULATIVE,
    DELTA,
    as_json,
    as_protobuf,
    attributes,
    gauge,
    point,
    request,
    total,
)
from uhlp.clock import FakeClock
from uhlp.errors import BadInput
from uhlp.metrics import MetricCollector, MetricsConfig, Writer
from uhlp.metrics.otlp import OtlpIntake, error_body, read_request, success_body
from uhlp.metrics.otlp.values import EXPONENTIAL_BOUNDS, exponential_value

ANYONE = Writer(applications={"shop", "desk"})


class Exported:
    """A collector that requests are written into."""

    def __init__(self, **limits: int) -> None:
        self.metrics = MetricCollector(schema={"type": "object"}, config=MetricsConfig(**limits), clock=FakeClock())
        self.intake = OtlpIntake(metrics=self.metrics)

    async def send(self, value: dict[str, Any], writer: Writer = ANYONE) -> tuple[int, str]:
        """Both encodings say the same; the protobuf one is written."""
        from_json, from_protobuf = read_request(as_json(value), "json"), read_request(as_protobuf(value), "protobuf")
        assert from_json == from_protobuf
        return await self.intake.write(from_protobuf, writer=writer)

    def shown(self, *, only: str = "") -> dict[str, float]:
        """Values by name and labels, without the server's own and without appId."""
        return {
            f"{one.name}{''.join(f' {key}={value}' for key, value in sorted(one.labels.items()) if key != 'appId')}":
                one.value
            for family in text_string_to_metric_families(self.metrics.generate_latest_metrics().decode())
            for one in family.samples
            if not one.name.startswith("uhlp_") and one.name.startswith(only)
        }  # fmt: skip


async def test_a_gauge_is_set() -> None:
    exported = Exported()
    assert await exported.send(request(gauge("app.custom.depth", point(3.0)))) == (0, "")
    await exported.send(request(gauge("app.custom.depth", point(None, asInt="7"))))
    assert exported.shown() == {"app_custom_depth": 7}


@pytest.mark.parametrize(
    ("temporality", "monotonic", "name", "value"),
    [(CUMULATIVE, True, "orders_total", 5), (DELTA, True, "orders_total", 8),
     (CUMULATIVE, False, "orders", 5), (DELTA, False, "orders", 8)],
)  # fmt: skip
async def test_sums_set_or_add_as_counters_or_gauges(temporality: int, monotonic: bool, name: str, value: int) -> None:
    exported = Exported()
    for sent in (3.0, 5.0):
        await exported.send(request(total("orders", point(sent), temporality=temporality, monotonic=monotonic)))
    assert exported.shown() == {name: value}


@pytest.mark.parametrize(("temporality", "factor"), [(CUMULATIVE, 1), (DELTA, 2)])
async def test_histograms_keep_their_bounds(temporality: int, factor: int) -> None:
    exported = Exported()
    counted = point(None, count="6", sum=9.5, bucketCounts=["1", "2", "3"], explicitBounds=[0.5, 2.0])
    metric = {"name": "wait", "histogram": {"dataPoints": [counted], "aggregationTemporality": temporality}}
    for _ in range(2):
        assert await exported.send(request(metric)) == (0, "")
    shown = {"wait_bucket le=0.5": 1, "wait_bucket le=2.0": 3, "wait_bucket le=+Inf": 6, "wait_count": 6,
             "wait_sum": 9.5}  # fmt: skip
    assert exported.shown() == {name: value * factor for name, value in shown.items()}


async def test_a_histogram_without_buckets_is_a_summary() -> None:
    exported = Exported()
    metric = {"name": "wait", "histogram": {"dataPoints": [point(None, count="6", sum=9.5)],
                                            "aggregationTemporality": DELTA}}  # fmt: skip
    assert await exported.send(request(metric)) == (0, "")
    assert exported.shown() == {"wait_count": 6, "wait_sum": 9.5}


async def test_a_summary_keeps_its_quantiles() -> None:
    exported = Exported()
    quantiles = [{"quantile": 0.5, "value": 1.25}, {"quantile": 0.99, "value": 8.0}]
    metric = {"name": "wait", "summary": {"dataPoints": [point(None, count="6", sum=9.5, quantileValues=quantiles)]}}
    assert await exported.send(request(metric)) == (0, "")
    assert exported.shown() == {"wait quantile=0.5": 1.25, "wait quantile=0.99": 8, "wait_count": 6, "wait_sum": 9.5}


@given(st.lists(st.floats(1e-6, 1e12), min_size=1, max_size=50), st.integers(2, 160))
@settings(max_examples=50, deadline=None)
def test_an_exponential_histogram_says_how_many_are_below_each_power_of_two(values: list[float], size: int) -> None:
    """The SDK's own histograms, at whatever scale it chose, against a count by hand."""
    reader = InMemoryMetricReader()
    aggregation = ExponentialBucketHistogramAggregation(max_size=size)
    provider = MeterProvider([reader], views=[View(instrument_name="wait", aggregation=aggregation)])
    histogram = provider.get_meter("test").create_histogram("wait")
    for value in values:
        histogram.record(value)
    found = exponential_value(_encoded(reader))
    for at, bound in enumerate(found.bounds):
        below = sum(found.counts[: at + 1])
        scale = _encoded(reader).scale
        if scale >= 0:
            assert below == sum(value <= bound * (1 + 1e-9) for value in values) or _is_on_an_edge(values, bound)
        else:  # its own buckets are wider than a factor of two
            assert below <= sum(value <= bound * (1 + 1e-9) for value in values)
    assert sum(found.counts) == len(values)
    assert found.sum == pytest.approx(sum(values))


def _is_on_an_edge(values: list[float], bound: float) -> bool:
    return any(abs(value / bound - 1) < 1e-9 for value in values)


def _encoded(reader: InMemoryMetricReader) -> Any:
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    data = reader.get_metrics_data()
    assert data is not None
    metric = encode_metrics(data).resource_metrics[0].scope_metrics[0].metrics[0]
    return metric.exponential_histogram.data_points[0]


async def test_exponential_histograms_of_different_scales_share_one_metric() -> None:
    exported = Exported()
    for scale, offset in ((0, 0), (3, 5), (-2, -1)):
        buckets = {"offset": offset, "bucketCounts": ["1", "2"]}
        counted = point(None, count="5", sum=1.0, scale=scale, zeroCount="1", positive=buckets,
                        negative={"offset": 3, "bucketCounts": ["1"]})  # fmt: skip
        metric = {"name": "wait", "exponentialHistogram": {"dataPoints": [counted], "aggregationTemporality": DELTA}}
        assert await exported.send(request(metric)) == (0, "")
    shown = exported.shown(only="wait_bucket")
    assert len(shown) == len(EXPONENTIAL_BOUNDS) + 1
    assert shown["wait_bucket le=0.0009765625"] == 6  # zeros and negatives
    assert shown["wait_bucket le=+Inf"] == 15


@pytest.mark.parametrize(
    "change",
    [{"scale": 21}, {"scale": -2147483648}, {"count": "4"}, {"sum": "NaN"}, {"zeroThreshold": "Infinity"}],
    ids=str,
)
async def test_an_exponential_histogram_that_is_none_is_refused(change: dict[str, Any]) -> None:
    exported = Exported()
    counted = {"count": "3", "sum": 1.0, "scale": 0, "positive": {"offset": 2147483647, "bucketCounts": ["1", "2"]}}
    data = {"dataPoints": [point(None, **{**counted, **change})], "aggregationTemporality": DELTA}
    assert (await exported.send(request({"name": "wait", "exponentialHistogram": data})))[0] == 1
    assert exported.shown() == {}


async def test_labels_come_from_resource_scope_and_point_and_the_nearest_wins() -> None:
    exported = Exported()
    resource = {"appId": "shop", "service_name": "till", "zone": "a", "telemetry_sdk_name": "opentelemetry"}
    scope = {"name": "tills", "version": "2", "attributes": attributes(zone="b", shelf="s")}
    sent = point(1.0, of={"zone": "c", "http_2xx": True, "n": 7, "share": 0.5})
    assert await exported.send(request(gauge("depth", sent), resource=resource, scope=scope)) == (0, "")
    labels = "http_2xx=true n=7 otel_scope_name=tills otel_scope_version=2 service_name=till share=0.5 shelf=s zone=c"
    assert exported.shown() == {f"depth {labels}": 1}


async def test_names_that_prometheus_lacks_are_changed_and_values_of_one_label_joined() -> None:
    exported = Exported()
    odd = [{"key": key, "value": {"stringValue": key}} for key in ("a-b", "a.b", "2xx", "__x")]
    listed = {"key": "list", "value": {"arrayValue": {"values": [{"intValue": "1"}, {"stringValue": "x"}]}}}
    sent = {**point(1.0), "attributes": [*attributes(appId="shop"), *odd, listed]}
    assert await exported.send(request(gauge("queue/depth-now", sent))) == (0, "")
    shown = 'queue_depth_now a_b=a-b;a.b key_2xx=2xx key__x=__x list=[1,"x"]'
    assert exported.shown() == {shown: 1}


async def test_points_of_one_metric_may_have_different_attributes() -> None:
    exported = Exported()
    sent = [point(1.0), point(2.0, of={"appId": "shop", "error": "x"})]
    assert await exported.send(request(gauge("depth", *sent))) == (0, "")
    assert await exported.send(request(gauge("depth", point(3.0)))) == (0, "")
    assert exported.shown() == {"depth error=": 3, "depth error=x": 2}
    rejected, why = await exported.send(request(gauge("depth", point(4.0, of={"appId": "shop", "new": "x"}))))
    assert (rejected, "depth exists as gauge" in why) == (1, True)


async def test_what_can_be_taken_is_taken_and_the_rest_is_told() -> None:
    exported = Exported()
    sent = request(
        gauge("fine", point(1.0)),
        gauge("nobodys", point(1.0, of={})),
        gauge("strangers", point(1.0, of={"appId": "unknown"})),
        total("timeless", point(1.0), point(2.0), temporality=0),
        gauge("empty", point(None)),
        gauge("unheard", point(None, flags=1)),
        gauge("infinite", point(None, asDouble="Infinity")),
        gauge("uhlp_mine", point(1.0)),
        total("negative", point(-1.0)),
        {"name": "nothing"},
    )
    rejected, why = await exported.send(sent)
    assert exported.shown() == {"fine": 1}
    assert rejected == 8
    assert "appId is missing" in why
    assert "There is no application 'unknown'" in why
    assert "needs an aggregation temporality: delta or cumulative. (2 points)" in why
    assert "And 2 points for other reasons." in why


async def test_an_application_writes_its_own_series_only_and_need_not_say_so() -> None:
    exported = Exported()
    shop = Writer(app_id="shop", applications={"shop", "desk"})
    sent = request(gauge("depth", point(1.0, of={}), point(2.0, of={"appId": "desk"})))
    rejected, why = await exported.send(sent, shop)
    assert (rejected, why) == (1, "The label appId is the writer's own, 'shop'.")
    assert b'depth{appId="shop"} 1.0' in exported.metrics.generate_latest_metrics()


async def test_what_is_known_of_the_sender_is_filled_in_and_not_contradicted() -> None:
    exported = Exported()
    known = {"componentId": "sort", "handlerType": "JIT", "poolName": "default", "sandboxId": "s-1"}
    shop = Writer(app_id="shop", applications={"shop"}, identity=known)
    sent = request(gauge("depth", point(1.0, of={}), point(2.0, of={"componentId": "other"})))
    assert (await exported.send(sent, shop))[0] == 1
    assert exported.shown() == {"depth componentId=sort handlerType=JIT poolName=default sandboxId=s-1": 1}


async def test_too_many_series_are_refused_point_by_point() -> None:
    exported = Exported(max_label_sets=3)
    points = [point(1.0, of={"appId": "shop", "n": number}) for number in range(10)]
    rejected, why = await exported.send(request(gauge("depth", *points)))
    assert (rejected, len(exported.shown())) == (7, 3)
    assert "label sets" in why


def test_unknown_fields_are_ignored() -> None:
    value = request({**gauge("depth", {**point(1.0), "fieldOfTomorrow": {"a": [1]}}), "more": 1})
    assert read_request(as_json({**value, "alsoNew": 3}), "json") == read_request(as_protobuf(value), "protobuf")
    unknown = as_protobuf(request()) + b"\xa2\x06\x03abc"  # field 100
    assert len(read_request(unknown, "protobuf").resource_metrics) == 1


def test_ids_of_exemplars_are_hex_in_json_and_no_reason_to_refuse() -> None:
    exemplar = {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "asDouble": 1}
    odd = {"traceId": "5b8", "asDouble": 1}
    read_request(as_json(request(gauge("depth", point(1.0, exemplars=[exemplar, odd])))), "json")


MALFORMED_JSON = [
    b"", b"[]", b"null", b'"x"', b"{", b'{"resourceMetrics": 5}', b'{"resourceMetrics": [5]}', b"\xff",
    b'{"resourceMetrics": [{"scopeMetrics": {"a": 1}}]}',
    as_json(request(gauge("depth", {**point(), "asDouble": "many"}))),
    as_json(request(gauge("depth", {**point(), "asInt": 1.5}))),
    as_json(request(gauge("depth", {**point(), "asInt": "9223372036854775808"}))),
    as_json(request({"name": "x", "sum": {"aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA"}})),
    b'{"resourceMetrics": [], "resourceMetrics": []}', b'{"a": NaN}', b"[" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED_JSON, ids=[repr(body)[:60] for body in MALFORMED_JSON])
def test_malformed_json_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        read_request(body, "json")


@pytest.mark.parametrize("body", [b"\x0a", b"\xff\xff\xff", b"\x0a\x05ab", b"{}"], ids=repr)
def test_malformed_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        read_request(body, "protobuf")


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
async def test_whatever_bytes_come_they_are_refused_or_taken(noise: bytes) -> None:
    whole = as_protobuf(request(gauge("depth", point(1.0)), total("orders", point(2.0))))
    body = whole[: len(whole) // 2] + noise + whole[len(whole) // 2 :]
    try:
        parsed = read_request(body, "protobuf")
    except BadInput:
        return
    rejected, why = await Exported().intake.write(parsed, writer=ANYONE)
    assert bool(rejected) == bool(why)


def test_answers_are_as_the_protocol_has_them() -> None:
    assert success_body("protobuf", rejected=0, message="") == b""
    assert success_body("json", rejected=0, message="") == b"{}"
    told = success_body("json", rejected=2, message="no")
    assert told == b'{"partialSuccess":{"rejectedDataPoints":"2","errorMessage":"no"}}'
    assert success_body("protobuf", rejected=2, message="no") == b"\x0a\x06\x08\x02\x12\x02no"
    assert error_body("json", code=3, message="bad") == b'{"code":3,"message":"bad"}'
    assert error_body("protobuf", code=3, message="bad") == b"\x08\x03\x12\x03bad"


def test_nesting_without_end_is_refused() -> None:
    value = b""
    for _ in range(5_000):  # AnyValue{array_value{values: …}}
        value = _field(5, _field(1, value))
    attribute = _field(1, _field(2, value))
    with pytest.raises(BadInput):
        read_request(_field(1, _field(1, attribute)), "protobuf")


def _field(number: int, content: bytes) -> bytes:
    length, size = len(content), b""
    while length > 127:
        size += struct.pack("B", length & 127 | 128)
        length >>= 7
    return struct.pack("B", number << 3 | 2) + size + struct.pack("B", length) + content
