"""Events, callbacks and messages: `POST /apps/{appId}/-/{triggers|callbacks|queues}/{name}` (contracts §7)."""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import structlog
from starlette.types import Receive, Scope, Send

from uhlp import strict_json
from uhlp.catalogue import traffic
from uhlp.errors import BadInput, InternalError, MethodNotAllowed, QueueNotFound, RouteNotFound, UhlpError
from uhlp.models.trigger import MOST_CORRELATION
from uhlp.routing.request import RoutedAnswer
from uhlp.tracing import TraceContext
from uhlp.web.answers import JSON_TYPE, WALLS, Headers, answer_response, error_response
from uhlp.web.app_keys import AppKeys, key_of
from uhlp.web.body import LARGE_BYTES, ClientDisconnected, has_body, read_body, send_early
from uhlp.web.failure_limiter import FailureLimiter
from uhlp.web.input_assembly import assemble_input
from uhlp.web.source_access import SourceAccess

if TYPE_CHECKING:
    from uhlp.models.trigger import CallbackTrigger
    from uhlp.web.services import Services

KINDS = ("triggers", "callbacks", "queues")

log = structlog.get_logger(__name__)


def source_of(raw_path: bytes) -> tuple[str, str, str] | None:
    """Application, kind and name, where a path is one of these; None for all other paths."""
    parts = raw_path.decode("latin-1").split("/")
    if len(parts) == 6 and parts[:2] == ["", "apps"] and parts[3] == "-" and parts[4] in KINDS:
        return parts[2], parts[4], parts[5]
    return None


class SourcesLane:
    """ASGI application for these paths alone.

    A body is the input, as for routes. An event with one listener, and a callback, are answered with the component's
    answer; what only waits in a queue with 202 and its messages' ids.
    """

    def __init__(self, services: "Services", *, keys: AppKeys) -> None:
        self._registry = services.registry
        self._sources = services.sources
        self._settings = services.settings
        self._refusals = traffic.REFUSALS.on(services.metrics)
        self._access = SourceAccess(
            registry=services.registry,
            keys=keys,
            callbacks=services.sources.callbacks,
            limiter=FailureLimiter(
                clock=services.clock, failures_per_minute=services.settings.failed_logins_per_minute
            ),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace = TraceContext.read(headers.get(b"traceparent"), headers.get(b"tracestate"))
        try:
            answer = await self._respond(scope, receive, headers, trace)
            status, response_headers, body = self._response(answer, trace.trace_id, started)
        except UhlpError as error:
            status, response_headers, body = self._refuse(error, trace.trace_id)
        except ClientDisconnected:
            return
        except Exception:
            log.exception("source_failed", path=scope["path"], trace_id=trace.trace_id)
            status, response_headers, body = self._refuse(InternalError(), trace.trace_id)
        if "body_was_read" not in scope and status >= 400 and has_body(headers):
            await send_early(send, receive, status, response_headers, body)
            return
        await send({"type": "http.response.start", "status": status, "headers": response_headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], trace: TraceContext
    ) -> RoutedAnswer | dict[str, Any]:
        found = source_of(scope["raw_path"])
        if found is None:
            raise RouteNotFound
        app_id, kind, name = found
        self._registry.snapshot(app_id)
        if scope["method"] != "POST":
            raise MethodNotAllowed("Events, callbacks and messages are sent by POST.", details={"allow": ["POST"]})
        client = scope["client"][0] if scope.get("client") else ""
        if kind == "triggers":
            source_app_id = await self._access.admit_event(headers, app_id=app_id, event=name, client=client)
            values, _ = await self._input(scope, receive, headers)
            told = await self._sources.events.send(app_id, name, values, source_app_id=source_app_id, trace=trace)
            return told if isinstance(told, RoutedAnswer) else {"messages": told}
        if kind == "queues":
            await self._access.admit_message(
                headers, app_id=app_id, name=name, component_id=self._consumer(app_id, name), client=client
            )
            values, _ = await self._input(scope, receive, headers)
            return {"messageId": await self._sources.queues.put(app_id, name, values, trace=trace)}
        return await self._callback(scope, receive, headers, trace, app_id, name, client)

    def _consumer(self, app_id: str, queue: str) -> str | None:
        """The component whose key may send to a queue; None for a queue that is not there: who has no key for it is
        not told so."""
        try:
            return self._sources.queues.queue(app_id, queue).component_id
        except QueueNotFound:
            return None

    async def _callback(
        self,
        scope: Scope,
        receive: Receive,
        headers: Mapping[bytes, bytes],
        trace: TraceContext,
        app_id: str,
        name: str,
        client: str,
    ) -> RoutedAnswer | dict[str, Any]:
        found = self._sources.callbacks.listener(app_id, name)
        component_id, trigger = found or (None, None)
        idempotency = None
        is_signed = trigger is not None and _is_signed(trigger, headers)
        if not is_signed:
            await self._access.admit_message(
                headers, app_id=app_id, name=name, component_id=component_id, client=client
            )
            sent = headers.get(trigger.idempotency_header.lower().encode()) if trigger is not None else None
            idempotency = f"key:{sent.decode('latin-1')}" if sent else None
        values, body = await self._input(scope, receive, headers)
        if is_signed and trigger is not None:
            idempotency = await self._access.check_signature(app_id, trigger, headers, body, client=client)
        return await self._sources.callbacks.receive(
            app_id, name, values, correlation=_correlation(scope), idempotency=idempotency, trace=trace
        )

    async def _input(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes]
    ) -> tuple[dict[str, Any], bytes]:
        """The input, and the body that it was made of."""
        body = await read_body(
            receive, headers, limit_bytes=self._settings.max_body_bytes, timeout_s=self._settings.body_timeout_s
        )
        scope["body_was_read"] = True

        def assemble() -> dict[str, Any]:
            content_type = headers.get(b"content-type")
            return assemble_input(body=body, content_type=content_type, query=b"", path_params={}, types={})

        return (assemble() if len(body) <= LARGE_BYTES else await asyncio.to_thread(assemble)), body

    def _response(
        self, answer: RoutedAnswer | dict[str, Any], trace_id: str, started: float
    ) -> tuple[int, Headers, bytes]:
        if isinstance(answer, RoutedAnswer):
            total_ms = (perf_counter() - started) * 1000
            return answer_response(answer, trace_id, total_ms, most_bytes=self._settings.max_answer_bytes)
        body = strict_json.dumps(answer)
        headers: Headers = [*WALLS, JSON_TYPE, (b"x-trace-id", trace_id.encode("ascii"))]
        headers.append((b"content-length", b"%d" % len(body)))
        return 200 if "repeated" in answer else 202, headers, body

    def _refuse(self, error: UhlpError, trace_id: str) -> tuple[int, Headers, bytes]:
        self._refusals.labels(error.code).inc()
        status, headers, body = error_response(error, trace_id)
        return status, [*WALLS, *headers], body


def _is_signed(trigger: "CallbackTrigger", headers: Mapping[bytes, bytes]) -> bool:
    """Whether the signature decides: it is there, or there is no key that could. A provider may send both."""
    verification = trigger.verification
    return verification is not None and (verification.header.lower().encode() in headers or key_of(headers) is None)


def _correlation(scope: Scope) -> str:
    """Which of several workflows a callback is for: `?correlation=…` of the address it was given."""
    pairs = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    correlation = next((value for name, value in pairs if name == "correlation"), "")
    if len(correlation) > MOST_CORRELATION:
        raise BadInput(f"The correlation has {len(correlation)} characters; {MOST_CORRELATION} is the limit.")
    return correlation
