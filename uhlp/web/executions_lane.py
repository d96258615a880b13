"""What became of a run that was begun with `Prefer: respond-async`: `GET /apps/{appId}/-/executions/{executionId}`."""

from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import Receive, Scope, Send

from uhlp import strict_json
from uhlp.catalogue import traffic
from uhlp.errors import ExecutionNotFound, InternalError, MethodNotAllowed, RouteNotFound, UhlpError
from uhlp.tracing import TraceContext
from uhlp.web.answers import JSON_TYPE, WALLS, Headers, error_response
from uhlp.web.app_keys import AppKeys
from uhlp.web.route_access import RouteAccess

if TYPE_CHECKING:
    from uhlp.web.services import Services

KIND = "executions"

log = structlog.get_logger(__name__)


def execution_of(raw_path: bytes) -> tuple[str, str] | None:
    """Application and execution, where a path is one of these; None for all other paths."""
    parts = raw_path.decode("latin-1").split("/")
    if len(parts) == 6 and parts[:2] == ["", "apps"] and parts[3:5] == ["-", KIND]:
        return parts[2], parts[5]
    return None


class ExecutionsLane:
    """ASGI application for these paths alone. Whoever may ask the component may ask what became of its run."""

    def __init__(self, services: "Services", *, keys: AppKeys) -> None:
        self._registry = services.registry
        self._workflows = services.workflows
        self._access = RouteAccess(keys=keys, users=services.users)
        self._refusals = traffic.REFUSALS.on(services.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id = TraceContext.read(headers.get(b"traceparent"), headers.get(b"tracestate")).trace_id
        error: UhlpError | None = None
        try:
            body = strict_json.dumps(await self._answer(scope, headers))
        except UhlpError as refusal:
            error = refusal
        except Exception:
            log.exception("execution_not_shown", path=scope["path"], trace_id=trace_id)
            error = InternalError()
        if error is not None:
            self._refusals.labels(error.code).inc()
            status, own, body = error_response(error, trace_id)
        else:
            status, own = 200, [JSON_TYPE, (b"content-length", b"%d" % len(body))]
        response_headers: Headers = [*WALLS, *own]
        await send({"type": "http.response.start", "status": status, "headers": response_headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes]) -> dict[str, Any]:
        found = execution_of(scope["raw_path"])
        if found is None:
            raise RouteNotFound
        app_id, execution_id = found
        app = self._registry.snapshot(app_id)
        if scope["method"] not in ("GET", "HEAD"):
            raise MethodNotAllowed("An execution is read by GET.", details={"allow": ["GET", "HEAD"]})
        client = scope["client"][0] if scope.get("client") else ""
        try:
            record = await self._workflows.history.record(app_id, execution_id)
        except ExecutionNotFound:
            await self._access.admit(headers, app=app, component_id="", client=client)  # who has no key learns nothing
            raise
        await self._access.admit(headers, app=app, component_id=record.component_id, client=client)
        return await self._workflows.history.answer(app_id, execution_id)
