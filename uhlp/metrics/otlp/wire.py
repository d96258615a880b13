"""The OTLP/HTTP wire: requests and responses as protobuf or JSON.

JSON is protobuf's with OTLP's differences: enums are integers, ids hex (exemplars alone have some, and are not kept).
"""

from typing import Any, Literal

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # comes without types
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from uhlp import strict_json
from uhlp.errors import BadInput

Encoding = Literal["protobuf", "json"]

_DATA = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_DEEPEST_JSON = 64


def read_request(body: bytes, encoding: Encoding) -> ExportMetricsServiceRequest:
    """The request; unknown fields are ignored. Raises BadInput for anything that is none. Takes a second for 10 MB of
    JSON: large bodies are for a thread.
    """
    request = ExportMetricsServiceRequest()
    if encoding == "protobuf":
        try:
            request.ParseFromString(body)
        except DecodeError as error:
            raise BadInput(f"The body is no ExportMetricsServiceRequest in protobuf: {error}.") from None
        return request
    value = strict_json.loads(body, max_depth=_DEEPEST_JSON)
    if not isinstance(value, dict):
        raise BadInput("The body is no ExportMetricsServiceRequest: it is a JSON object.")
    try:
        _apply_otlp_differences(value)
        json_format.ParseDict(value, request, ignore_unknown_fields=True, max_recursion_depth=_DEEPEST_JSON)
    except (json_format.ParseError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"The body is no ExportMetricsServiceRequest in JSON: {str(error)[:300]}.") from None
    return request


def success_body(encoding: Encoding, *, rejected: int, message: str) -> bytes:
    """The body of a 200; `rejected` data points were not taken, and `message` says why."""
    response = ExportMetricsServiceResponse()
    if rejected or message:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = message
    return _written(response, encoding)


def error_body(encoding: Encoding, *, code: int, message: str) -> bytes:
    """The body of any other status: a google.rpc.Status."""
    return _written(Status(code=code, message=message), encoding)


def _written(message: Message, encoding: Encoding) -> bytes:
    if encoding == "protobuf":
        return message.SerializeToString()
    return strict_json.dumps(json_format.MessageToDict(message))


def _apply_otlp_differences(request: dict[str, Any]) -> None:
    """Drop exemplars and refuse enums by name, in place. Raises ValueError; AttributeError where there is no object."""
    for resource in request.get("resourceMetrics") or ():
        for scope in resource.get("scopeMetrics") or ():
            for metric in scope.get("metrics") or ():
                for kind in _DATA:
                    data = metric.get(kind) or {}
                    if isinstance(data.get("aggregationTemporality"), str):
                        raise ValueError("aggregationTemporality is an integer in OTLP")
                    for point in data.get("dataPoints") or ():
                        point.pop("exemplars", None)
