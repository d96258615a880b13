"""Application traffic: `ANY /apps/{appId}/{path}`, as plain ASGI (no model validation, no middleware on this path)."""

import asyncio
from collections.abc import Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import structlog
from starlette.types import Receive, Scope, Send

from uhlp.catalogue import traffic
from uhlp.errors import (
    BadInput,
    InternalError,
    MethodNotAllowed,
    RouteNotFound,
    UhlpError,
    ValidationFailed,
)
from uhlp.routing.component_requests import check_input
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.routing.workflow_requests import call_of
from uhlp.tracing import TraceContext
from uhlp.web.answers import JSON_WALLS, WALLS, Headers, answer_response, error_response
from uhlp.web.app_keys import AppKeys
from uhlp.web.application_hosts import OWN_HOST
from uhlp.web.body import LARGE_BYTES, ClientDisconnected, has_body, read_body, send_early
from uhlp.web.disconnect import DisconnectWatch
from uhlp.web.exchange import EXCHANGE, Exchange
from uhlp.web.input_assembly import assemble_input, is_json
from uhlp.web.prefer import accepted_response, prefers_async
from uhlp.web.route_access import RouteAccess

if TYPE_CHECKING:
    from uhlp.registry.route_table import RouteMatch
    from uhlp.registry.snapshot import AppSnapshot
    from uhlp.web.services import Services

PREFIX = "/apps/"
RESERVED = "/-/"
MOST_SESSION_ID = 256
TIMEOUT = b"x-request-timeout-ms"
IDEMPOTENCY_KEY = b"idempotency-key"
_MOST_TIMEOUT_DIGITS = 9
_FORWARDED = (b"content-type", b"accept", b"accept-language", b"user-agent")
"""Request headers a component may see; credentials and cookies never reach a sandbox."""

_NOT_KEPT = (
    "A route keeps no Idempotency-Key: with Prefer: respond-async the same run would be begun twice. Send it without, "
    "or give the component a callback trigger, which runs once by its key."
)
_NO_JSON = " The body was not read as JSON: send Content-Type: application/json."

log = structlog.get_logger(__name__)


class Ingress:
    """ASGI application for one request to one component: find, authorise, read, validate, route, answer."""

    def __init__(self, services: "Services", *, keys: AppKeys) -> None:
        self._clock = services.clock
        self._registry = services.registry
        self._router = services.router
        self._workflows = services.workflows
        self._settings = services.settings
        self._access = RouteAccess(keys=keys, users=services.users)
        self._refusals = traffic.REFUSALS.on(services.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = perf_counter()
        exchange: Exchange | None = scope.get(EXCHANGE)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace = TraceContext.read(headers.get(b"traceparent"), headers.get(b"tracestate"))
        trace_id = trace.trace_id
        try:
            status, response_headers, body = await self._respond(scope, receive, exchange, headers, trace, started)
        except UhlpError as error:
            status, response_headers, body = self._refuse(error, trace_id, scope)
        except ClientDisconnected:
            return
        except Exception:
            log.exception("request_failed", path=scope["path"], trace_id=trace_id)
            status, response_headers, body = self._refuse(InternalError(), trace_id, scope)
        if "body_was_read" not in scope and status >= 400 and has_body(headers):
            await send_early(send, receive, status, response_headers, body)
            return
        if exchange is not None and exchange.answer(status, response_headers, body):
            return
        await send({"type": "http.response.start", "status": status, "headers": response_headers})
        await send({"type": "http.response.body", "body": body})

    async def _respond(
        self,
        scope: Scope,
        receive: Receive,
        exchange: Exchange | None,
        headers: Mapping[bytes, bytes],
        trace: TraceContext,
        started: float,
    ) -> tuple[int, Headers, bytes]:
        app_id, path = _split_path(scope["raw_path"])
        app = self._registry.snapshot(app_id)
        match = _match(app, scope["method"], path)
        if match is None:
            return _allowed_methods(app, path, scope, trace.trace_id)
        component = app.components[match.component_id]
        client = scope.get("client")
        user_info = await self._access.admit(
            headers, app=app, component_id=match.component_id, client=client[0] if client else ""
        )
        deadline = self._deadline(headers)
        body = await read_body(
            receive,
            headers,
            limit_bytes=self._settings.max_body_bytes,
            timeout_s=self._settings.body_timeout_s,
            exchange=exchange,
        )
        scope["body_was_read"] = True
        assemble = partial(
            assemble_input,
            body=body,
            content_type=headers.get(b"content-type"),
            query=scope["query_string"],
            path_params=match.path_params,
            types=component.properties_types,
        )
        values = assemble() if len(body) <= LARGE_BYTES else await asyncio.to_thread(assemble)
        body_is_no_json = bool(body) and not is_json(headers.get(b"content-type"))
        check_input(component, values, hint=_NO_JSON if body_is_no_json else "")
        request = RoutedRequest(
            app=app,
            component=component,
            input=values,
            trace_id=trace.trace_id,
            trace=trace,
            session_id=session_id_of(headers),
            user_info=user_info,
            source_details=_http_details(scope, path, headers),
            deadline=deadline,
            path_params=match.path_params,
        )
        if component.workflow is not None and prefers_async(scope["headers"]):
            if IDEMPOTENCY_KEY in headers:
                raise ValidationFailed(_NOT_KEPT)
            execution_id = await self._workflows.start(call_of(request, 0.0))
            prefix = "" if OWN_HOST in scope else f"{PREFIX}{app_id}"
            status, own, answered = accepted_response(
                execution_id, f"{prefix}{RESERVED}executions/{execution_id}", trace.trace_id
            )
            return status, [*_walls(scope), *own], answered
        answer = await self._handle(request, receive, exchange)
        return answer_response(
            answer,
            trace.trace_id,
            (perf_counter() - started) * 1000,
            most_bytes=self._settings.max_answer_bytes,
            is_own_host=OWN_HOST in scope,
        )

    def _deadline(self, headers: Mapping[bytes, bytes]) -> float | None:
        """Until when the caller waits; it can shorten the component's own time, not lengthen it."""
        raw = headers.get(TIMEOUT)
        if raw is None:
            return None
        if not raw.isdigit() or not 0 < len(raw) <= _MOST_TIMEOUT_DIGITS or int(raw) == 0:
            raise BadInput("X-Request-Timeout-Ms is not a number of milliseconds from 1 on.")
        return self._clock.monotonic() + int(raw) / 1000

    async def _handle(self, request: RoutedRequest, receive: Receive, exchange: Exchange | None) -> RoutedAnswer:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application runs in a task")
        watch: Exchange | DisconnectWatch
        if exchange is not None:
            watch = exchange.watch(task)
        else:
            watch = DisconnectWatch(receive, task, asyncio.get_running_loop())
        try:
            return await self._router.handle(request)
        except asyncio.CancelledError:
            if watch.client_left:
                task.uncancel()
                raise ClientDisconnected from None
            raise
        finally:
            watch.stop()

    def _refuse(self, error: UhlpError, trace_id: str, scope: Scope) -> tuple[int, Headers, bytes]:
        self._refusals.labels(error.code).inc()
        status, headers, body = error_response(error, trace_id)
        return status, [*_walls(scope), *headers], body


def _walls(scope: Scope) -> tuple[tuple[bytes, bytes], ...]:
    """What the server's own words on application traffic carry."""
    return JSON_WALLS if OWN_HOST in scope else WALLS


def _split_path(raw_path: bytes) -> tuple[str, str]:
    """Application id and the rest, still percent-encoded: the route table decodes segment by segment."""
    sent = raw_path.decode("latin-1")
    if not sent.startswith(PREFIX):  # `/apps%2F…`
        raise RouteNotFound
    app_id, slash, rest = sent[len(PREFIX) :].partition("/")
    return app_id, slash + rest or "/"


def _match(app: "AppSnapshot", method: str, path: str) -> "RouteMatch | None":
    """The route; HEAD falls back to GET. None: an OPTIONS request that no component claims."""
    if path.startswith(RESERVED):
        raise RouteNotFound
    try:
        return app.routes.match(method, path)
    except MethodNotAllowed as error:
        allow = error.details["allow"] = _with_implied(error.details["allow"])
        if method == "HEAD" and "GET" in allow:
            return app.routes.match("GET", path)
        if method == "OPTIONS":
            return None
        raise


def _allowed_methods(app: "AppSnapshot", path: str, scope: Scope, trace_id: str) -> tuple[int, Headers, bytes]:
    try:
        app.routes.match("OPTIONS", path)
        allow = ["OPTIONS"]
    except MethodNotAllowed as error:
        allow = _with_implied(error.details["allow"])
    headers = [*_walls(scope), (b"allow", ", ".join(allow).encode()), (b"x-trace-id", trace_id.encode())]
    return 204, headers, b""


def _with_implied(methods: list[str]) -> list[str]:
    """The methods that components claim, and those that every path has."""
    return sorted({*methods, "OPTIONS", *(("HEAD",) if "GET" in methods else ())})


def session_id_of(headers: Mapping[bytes, bytes]) -> str | None:
    """What keeps a caller on one arm of a canary, as they say it themselves."""
    raw = headers.get(b"x-session-id")
    return raw[:MOST_SESSION_ID].decode("latin-1") if raw else None


def _http_details(scope: Scope, path: str, headers: Mapping[bytes, bytes]) -> dict[str, Any]:
    query = scope["query_string"]
    return {
        "method": scope["method"],
        "path": path,
        "queryParams": dict(parse_qsl(query.decode("ascii"), keep_blank_values=True)) if query else {},
        "headers": {
            name.decode("ascii"): value.decode("latin-1") for name in _FORWARDED if (value := headers.get(name))
        },
    }
