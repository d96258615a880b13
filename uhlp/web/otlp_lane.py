"""`POST /v1/metrics`: OTLP/HTTP, as plain ASGI (OpenTelemetry protocol, section OTLP/HTTP).

Whatever can be taken is taken: the answer is 200, and says what was not (partial success). 400 is for bodies that are
no request, 413 for large ones; 429 and 503 carry Retry-After. Errors are a google.rpc.Status, as the protocol asks.
"""

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import Receive, Scope, Send

from uhlp.errors import (
    BadInput,
    InternalError,
    MethodNotAllowed,
    UhlpError,
    Unavailable,
    ValidationFailed,
)
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.admin.lane import SECURITY_HEADERS
from uhlp.web.answers import Headers, error_response
from uhlp.web.body import LARGE_BYTES, ClientDisconnected, has_body, read_body, send_early
from uhlp.web.inflate import inflated
from uhlp.web.record_access import RecordAccess

if TYPE_CHECKING:
    from uhlp.metrics import Writer
    from uhlp.metrics.otlp import Encoding, OtlpIntake
    from uhlp.web.services import Services

OTLP_METRICS = "/v1/metrics"

_ENCODINGS: dict[bytes, "Encoding"] = {b"application/x-protobuf": "protobuf", b"application/json": "json"}
_TYPES = {encoding: content_type for content_type, encoding in _ENCODINGS.items()}
_LARGE_BYTES: dict["Encoding", int] = {"protobuf": LARGE_BYTES, "json": 16 * 1024}
"""What is decoded beyond this is worth a thread: of JSON 16 KiB take 3 ms, of protobuf 256 KiB one."""
_MOST_AT_ONCE = 8
"""Requests that are inflated, decoded and written at a time: each may hold some ten times its body."""
_STATUS_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 405: 12, 413: 8, 422: 3, 429: 8, 500: 13, 503: 14}
"""google.rpc.Code by HTTP status."""
_UNKNOWN = 2

log = structlog.get_logger(__name__)


class OtlpLane:
    """ASGI application; who may write, and whose series, is as for /record."""

    def __init__(self, services: "Services", *, access: RecordAccess) -> None:
        self._metrics = services.metrics
        self._settings = services.settings
        self._access = access
        self._in_progress = 0
        self._otlp: Any = None
        self._intake: OtlpIntake | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id = trace_id_of(headers.get(b"traceparent"))
        content_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        encoding = _ENCODINGS.get(content_type, "json")
        try:
            body = await self._answer(scope, receive, headers, content_type)
            status, answer_headers = 200, _headers(encoding, body, trace_id)
        except ClientDisconnected:
            return
        except UhlpError as error:
            status, answer_headers, body = await self._refusal(error, encoding, trace_id)
        except Exception:
            log.exception("request_failed", path=scope["path"], trace_id=trace_id)
            status, answer_headers, body = await self._refusal(InternalError(), encoding, trace_id)
        if "body_was_read" not in scope and has_body(headers):
            await send_early(send, receive, status, answer_headers, body)
            return
        await send({"type": "http.response.start", "status": status, "headers": answer_headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], content_type: bytes) -> bytes:
        if scope["method"] != "POST":
            raise MethodNotAllowed(details={"allow": ["POST"]})
        if content_type not in _ENCODINGS:
            raise BadInput("Send Content-Type: application/x-protobuf or application/json.")
        writer = await self._access.writer(headers, client=scope["client"][0] if scope.get("client") else "")
        compression, settings = headers.pop(b"content-encoding", b""), self._settings
        body = await read_body(receive, headers, limit_bytes=settings.max_body_bytes, timeout_s=settings.body_timeout_s)
        scope["body_was_read"] = True
        if self._in_progress >= _MOST_AT_ONCE:
            raise Unavailable("Too many exports at once; send again in a moment.", retry_after_s=1)
        self._in_progress += 1
        try:
            return await self._take(body, compression, _ENCODINGS[content_type], writer)
        finally:
            self._in_progress -= 1

    async def _take(self, body: bytes, compression: bytes, encoding: "Encoding", writer: "Writer") -> bytes:
        body = await inflated(body, compression, limit_bytes=self._settings.max_body_bytes)
        otlp = await self._protocol()
        if len(body) > _LARGE_BYTES[encoding]:
            request = await asyncio.to_thread(otlp.read_request, body, encoding)
        else:
            request = otlp.read_request(body, encoding)
        if self._intake is None:
            self._intake = otlp.OtlpIntake(metrics=self._metrics)
        rejected, message = await self._intake.write(request, writer=writer)
        answer: bytes = otlp.success_body(encoding, rejected=rejected, message=message)
        return answer

    async def _refusal(self, error: UhlpError, encoding: "Encoding", trace_id: str) -> tuple[int, Headers, bytes]:
        """The error as a google.rpc.Status, with the headers of the server's own errors."""
        status, headers, _ = error_response(error, trace_id)
        status = 400 if isinstance(error, ValidationFailed) else status
        code = _STATUS_CODES.get(status, _UNKNOWN)
        body = (await self._protocol()).error_body(encoding, code=code, message=error.message)
        kept = [one for one in headers if one[0] not in (b"content-type", b"content-length", b"x-trace-id")]
        return status, [*_headers(encoding, body, trace_id), *kept], body

    async def _protocol(self) -> Any:
        """What the metrics room has for OTLP; protobuf takes a tenth of a second to import, and only who exports needs
        it."""
        if self._otlp is None:
            self._otlp = await asyncio.to_thread(import_module, "uhlp.metrics.otlp")
        return self._otlp


def _headers(encoding: "Encoding", body: bytes, trace_id: str) -> Headers:
    return [
        (b"content-type", _TYPES[encoding]),
        (b"content-length", b"%d" % len(body)),
        (b"x-trace-id", trace_id.encode("ascii")),
        *SECURITY_HEADERS,
    ]
