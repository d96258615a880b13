"""OpenTelemetry's own SDK exports its metrics into a server."""

from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.applications import desk
from tests.e2e.server import Server

RESOURCE = Resource.create({"service.name": "till"})
OFTEN_ENOUGH_MS = 3_600_000.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("otlp") / "data", environment={"UHLP_DEPLOYMENT_MODE": "staging"}) as server:
        server.administer("POST", "/apps", desk())
        server.administer("POST", "/apps", desk("other"))
        yield server


@pytest.fixture(scope="module")
def key(server: Server) -> str:
    return str(server.administer("POST", "/apps/desk/api-keys", {})["apiKey"])


class Reports(OTLPMetricExporter):
    """The exporter, with the results of its exports."""

    def __init__(self, server: Server, key: str, *, is_delta: bool, compression: Compression) -> None:
        delta = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}
        super().__init__(
            endpoint=f"{server.url}/v1/metrics",
            headers={"X-API-Key": key},
            compression=compression,
            preferred_temporality=delta if is_delta else {},  # type: ignore[arg-type]
        )
        self.results: list[MetricExportResult] = []

    def export(self, *given, **more):  # type: ignore[no-untyped-def]
        self.results.append(super().export(*given, **more))
        return self.results[-1]


def shown(server: Server) -> dict[str, float]:
    """Series by name, componentId and `le`, of what the till exports."""
    return {
        " ".join([one.name, *(one.labels[key] for key in ("kind", "le") if key in one.labels)]): one.value
        for family in text_string_to_metric_families(server.http.get("/metrics").text)
        for one in family.samples
        if one.labels.get("service_name") == "till" and one.labels["appId"] == "desk"
    }


@pytest.mark.parametrize("is_delta", [False, True], ids=["cumulative", "delta"])
@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.NoCompression], ids=["gzip", "plain"])
def test_counters_gauges_and_histograms_of_the_sdk_are_shown(
    server: Server, key: str, is_delta: bool, compression: Compression
) -> None:
    prefix = f"till.{'delta' if is_delta else 'cumulative'}.{compression.value}"
    exporter = Reports(server, key, is_delta=is_delta, compression=compression)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=OFTEN_ENOUGH_MS)
    exponential = View(instrument_name="*.size", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider([reader], resource=RESOURCE, views=[exponential])
    meter = provider.get_meter("tills", "2.0")
    orders = meter.create_counter(f"{prefix}.orders", description="Orders taken.")
    open_orders = meter.create_up_down_counter(f"{prefix}.open")
    wait = meter.create_histogram(f"{prefix}.wait", unit="s", explicit_bucket_boundaries_advisory=[0.5, 2.0])
    size = meter.create_histogram(f"{prefix}.size")
    meter.create_observable_gauge(f"{prefix}.drawer", [_drawer])
    try:
        for _ in range(2):
            orders.add(2, {"kind": "card"})
            open_orders.add(-1)
            for seconds in (0.25, 1.0, 3.0):
                wait.record(seconds)
                size.record(seconds * 1024)
            provider.force_flush()
    finally:
        provider.shutdown()
    assert set(exporter.results) == {MetricExportResult.SUCCESS}
    series, name = shown(server), prefix.replace(".", "_")
    assert series[f"{name}_orders_total card"] == 4
    assert series[f"{name}_open"] == -2
    assert [series[f"{name}_wait_bucket {le}"] for le in ("0.5", "2.0", "+Inf")] == [2, 4, 6]
    assert series[f"{name}_wait_sum"] == 8.5
    assert [series[f"{name}_size_bucket {le}"] for le in ("256.0", "1024.0", "4096.0")] == [2, 4, 6]
    assert series[f"{name}_drawer"] == 12.5


def _drawer(options: CallbackOptions) -> list[Observation]:
    return [Observation(12.5)]


def test_another_applications_series_are_refused_and_the_exporter_is_told(server: Server, key: str) -> None:
    exporter = Reports(server, key, is_delta=False, compression=Compression.Gzip)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=OFTEN_ENOUGH_MS)
    provider = MeterProvider([reader], resource=RESOURCE)
    counter = provider.get_meter("tills").create_counter("till.forged")
    counter.add(1, {"appId": "other"})
    provider.force_flush()
    provider.shutdown()
    assert set(exporter.results) == {MetricExportResult.SUCCESS}  # a partial success is one
    assert "till_forged" not in server.http.get("/metrics").text


def test_a_key_that_is_not_valid_fails_the_export(server: Server) -> None:
    exporter = Reports(server, "wrong", is_delta=False, compression=Compression.Gzip)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=OFTEN_ENOUGH_MS)
    provider = MeterProvider([reader], resource=RESOURCE)
    provider.get_meter("tills").create_counter("till.orders").add(1)
    provider.force_flush()
    provider.shutdown()
    assert set(exporter.results) == {MetricExportResult.FAILURE}
