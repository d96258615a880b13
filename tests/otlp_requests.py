"""OTLP requests as tests write them: in OTLP's JSON, and the same as protobuf."""

import json
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

DELTA, CUMULATIVE = 1, 2


def attributes(**values: Any) -> list[dict[str, Any]]:
    """Underscores in names stand for dots."""
    kinds: dict[type, str] = {str: "stringValue", bool: "boolValue", int: "intValue", float: "doubleValue"}
    return [{"key": name.replace("_", "."), "value": {kinds[type(value)]: value}} for name, value in values.items()]


def point(value: float | None = None, **more: Any) -> dict[str, Any]:
    """A number's data point; attributes in `of`."""
    found = {"attributes": attributes(**more.pop("of", {"appId": "shop"})), "timeUnixNano": "1750000000000000000"}
    if value is not None:
        found["asDouble"] = value
    return {**found, **more}


def request(*metrics: dict[str, Any], resource: dict[str, Any] | None = None, scope: Any = None) -> dict[str, Any]:
    """One resource, one scope."""
    scoped = {"scope": scope or {}, "metrics": list(metrics)}
    return {"resourceMetrics": [{"resource": {"attributes": attributes(**resource or {})}, "scopeMetrics": [scoped]}]}


def gauge(name: str, *points: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "gauge": {"dataPoints": list(points)}, **more}


def total(name: str, *points: dict[str, Any], temporality: int = CUMULATIVE, monotonic: bool = True) -> dict[str, Any]:
    return {"name": name, "sum": {
        "dataPoints": list(points), "aggregationTemporality": temporality, "isMonotonic": monotonic,
    }}  # fmt: skip


def as_json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def as_protobuf(value: dict[str, Any]) -> bytes:
    parsed = json_format.ParseDict(value, ExportMetricsServiceRequest(), ignore_unknown_fields=True)
    return parsed.SerializeToString()
