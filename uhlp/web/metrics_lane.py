"""Metrics in and out: POST /record (seed 001) and GET /metrics, as plain ASGI.

Metrics come by the thousand a second, so no framework stands before them; what OpenAPI says of both is in
`metrics_documented`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog
from starlette.types import Receive, Scope, Send

from uhlp import strict_json
from uhlp.errors import InternalError, MethodNotAllowed, UhlpError, ValidationFailed
from uhlp.metrics import OPENMETRICS_TYPE, TEXT_TYPE
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.accept import form_of
from uhlp.web.admin.lane import SECURITY_HEADERS
from uhlp.web.answers import JSON_TYPE, Headers, error_response
from uhlp.web.body import LARGE_BYTES, ClientDisconnected, has_body, read_body, send_early
from uhlp.web.input_assembly import is_json
from uhlp.web.record_access import METRICS, RECORD, RecordAccess

if TYPE_CHECKING:
    from uhlp.web.services import Services

_METHODS = {RECORD: ("POST",), METRICS: ("GET", "HEAD")}

Response = tuple[int, Headers, Sequence[bytes]]

log = structlog.get_logger(__name__)


class MetricsLane:
    """ASGI application for both paths."""

    def __init__(self, services: "Services", *, access: RecordAccess) -> None:
        self._metrics = services.metrics
        self._settings = services.settings
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id = trace_id_of(headers.get(b"traceparent"))
        try:
            status, told, pieces = await self._respond(scope, receive, headers, trace_id)
        except ClientDisconnected:
            return
        except UhlpError as error:
            status, told, pieces = _refusal(error, trace_id)
        except Exception:
            log.exception("request_failed", path=scope["path"], trace_id=trace_id)
            status, told, pieces = _refusal(InternalError(), trace_id)
        told += SECURITY_HEADERS
        if "body_was_read" not in scope and has_body(headers):
            await send_early(send, receive, status, told, b"".join(pieces))
            return
        await send({"type": "http.response.start", "status": status, "headers": told})
        last = len(pieces) - 1
        for at, piece in enumerate(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": at < last})

    async def _respond(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], trace_id: str) -> Response:
        path, client = scope["path"], scope["client"][0] if scope.get("client") else ""
        if scope["method"] not in _METHODS[path]:
            raise MethodNotAllowed(details={"allow": list(_METHODS[path])})
        trace = (b"x-trace-id", trace_id.encode("ascii"))
        if path == RECORD:
            body = b'{"accepted":%d}' % await self._record(scope, receive, headers, client)
            return 202, [JSON_TYPE, trace, (b"content-length", b"%d" % len(body))], [body]
        self._access.authorize_reading(headers, client=client)
        form = form_of(headers)
        pieces = await self._metrics.latest(form)
        told: Headers = [
            (b"content-type", (OPENMETRICS_TYPE if form.is_openmetrics else TEXT_TYPE).encode("ascii")),
            (b"content-length", b"%d" % sum(map(len, pieces))),
            (b"vary", b"accept, accept-encoding"),
            trace,
        ]
        if form.is_gzipped:
            told.append((b"content-encoding", b"gzip"))
        return 200, told, [b""] if scope["method"] == "HEAD" else pieces

    async def _record(self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], client: str) -> int:
        writer = await self._access.writer(headers, client=client)
        settings = self._settings
        body = await read_body(
            receive,
            headers,
            limit_bytes=min(settings.max_body_bytes, settings.max_record_bytes),
            timeout_s=settings.body_timeout_s,
        )
        scope["body_was_read"] = True
        if body and not is_json(headers.get(b"content-type")):
            raise ValidationFailed("Send metric records as JSON, with Content-Type: application/json.")
        if len(body) > LARGE_BYTES:
            records = await asyncio.to_thread(strict_json.loads, body)
        else:
            records = strict_json.loads(body)
        if isinstance(records, dict):
            records = [records]
        elif not isinstance(records, list):
            raise ValidationFailed("Send one metric record as a JSON object, or a list of them.")
        return await self._metrics.record_many(records, writer=writer)


def _refusal(error: UhlpError, trace_id: str) -> Response:
    status, told, body = error_response(error, trace_id)
    return status, told, [body]
