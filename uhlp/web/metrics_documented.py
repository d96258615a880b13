"""What OpenAPI says of POST /record, POST /v1/metrics and GET /metrics, which FastAPI does not serve."""

from collections.abc import Mapping
from typing import Any

from uhlp.models.metric import MetricRecord

_RECORD = MetricRecord.model_json_schema()
_ONE_OR_MANY = {"anyOf": [_RECORD, {"type": "array", "items": _RECORD}]}
_ACCEPTED = {"type": "object", "properties": {"accepted": {"type": "integer"}}, "required": ["accepted"]}
_TEXT = {"schema": {"type": "string"}}
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_OTLP = {"application/json": {"schema": {"type": "object"}}, "application/x-protobuf": _BINARY}
_OTLP_STATUS = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}},
    "required": ["message"],
}
_OTLP_REFUSED = {"application/json": {"schema": _OTLP_STATUS}, "application/x-protobuf": _BINARY}
_OTLP_REFUSALS = ("400", "401", "403", "413", "429", "500", "503")


def metrics_paths(refusals: Mapping[int | str, Mapping[str, Any]]) -> dict[str, Any]:
    """OpenAPI's paths; `refusals` are the statuses that are answered with the envelope."""
    refused = {str(status): told for status, told in refusals.items()}
    return {
        "/record": {
            "post": {
                "tags": ["metrics"],
                "summary": "Record one measurement or a list of them",
                "description": "A list is taken whole or not at all; a refusal names index and field. An application's"
                " key writes series of that application alone, whose label `appId` is filled in; an execution's token"
                " (`mcpToken`) too, with `componentId`, `sandboxId`, `handlerType` and `poolName`. In production an"
                " admin token (not a viewer's), such a key or such a token is asked for.",
                "operationId": "record",
                "requestBody": {"required": True, "content": {"application/json": {"schema": _ONE_OR_MANY}}},
                "responses": {
                    "202": {"description": "Accepted", "content": {"application/json": {"schema": _ACCEPTED}}},
                    **refused,
                },
            }
        },
        "/v1/metrics": {
            "post": {
                "tags": ["metrics"],
                "summary": "Metrics as OpenTelemetry exports them",
                "description": "OTLP/HTTP: an ExportMetricsServiceRequest in protobuf or JSON, gzip or not. What cannot"
                " be taken is told in the response's partialSuccess. Who may write what is as for /record; every point"
                " is of an application.",
                "operationId": "exportMetrics",
                "requestBody": {"required": True, "content": _OTLP},
                "responses": {
                    "200": {"description": "Taken, or taken in part", "content": _OTLP},
                    **{
                        status: {"description": "A google.rpc.Status", "content": _OTLP_REFUSED}
                        for status in _OTLP_REFUSALS
                    },
                },
            }
        },
        "/metrics": {
            "get": {
                "tags": ["metrics"],
                "summary": "Everything that is counted",
                "description": "Prometheus' text format, or OpenMetrics where the request accepts it. With"
                " `metrics.access: token`, which is the rule in production, an admin token is asked for, a viewer's"
                " will do.",
                "operationId": "metrics",
                "responses": {
                    "200": {
                        "description": "All metrics",
                        "content": {"text/plain": _TEXT, "application/openmetrics-text": _TEXT},
                    },
                    **refused,
                },
            }
        },
    }
