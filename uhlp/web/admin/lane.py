"""The lane of everything that is not application traffic: one gate in front of FastAPI.

The lane authenticates /admin/v1 (unknown paths too), asks the role table, reads every body as strict JSON whatever
route it is for, adds security headers, logs each change with its actor, and turns what is left over into the error
envelope.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uhlp import strict_json
from uhlp.access.administrator import Administrator
from uhlp.errors import InternalError, UhlpError
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.admin.role_table import check_role
from uhlp.web.admin_gate import AdminGate
from uhlp.web.answers import error_response
from uhlp.web.body import LARGE_BYTES, ClientDisconnected, has_body, read_body, send_early
from uhlp.web.config import WebSettings
from uhlp.web.input_assembly import is_json

ADMIN = "/admin"
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
_READING = frozenset({"GET", "HEAD", "OPTIONS"})

log = structlog.get_logger(__name__)


class AdminLane:
    """ASGI application around the FastAPI one, which finds `administrator` and `trace_id` in the request's state."""

    def __init__(self, app: ASGIApp, *, gate: AdminGate, settings: WebSettings) -> None:
        self._app = app
        self._gate = gate
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace_id = trace_id_of(headers.get(b"traceparent"))
        response = _Response(send, receive, trace_id)
        response.body_is_waiting = has_body(headers)
        path: str = scope["path"]
        administrator: Administrator | None = None
        try:
            administrator = self._identify(scope, headers)
            if administrator is not None:
                check_role(administrator, scope["method"], path)
                response.lasts_while(partial(self._gate.is_open_to, administrator))
            body = await read_body(
                receive,
                headers,
                limit_bytes=self._settings.max_body_bytes,
                timeout_s=self._settings.body_timeout_s,
            )
            response.body_is_waiting = False
            if len(body) > LARGE_BYTES and is_json(headers.get(b"content-type")):
                await asyncio.to_thread(strict_json.loads, body)
            elif body and is_json(headers.get(b"content-type")):
                strict_json.loads(body)
            state = {**scope.get("state", {}), "administrator": administrator, "trace_id": trace_id}
            await self._app({**scope, "state": state}, _replay(body, receive), response.send)
        except ClientDisconnected:
            return
        except UhlpError as error:
            await response.refuse(error)
        except Exception:
            log.exception("request_failed", path=path, trace_id=trace_id)
            await response.refuse(InternalError())
        if administrator is not None and scope["method"] not in _READING:
            log.info(
                "admin_change",
                actor=administrator.name,
                role=str(administrator.role),
                method=scope["method"],
                path=path,
                status=response.status,
                trace_id=trace_id,
            )

    def _identify(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Administrator | None:
        """Who asks; None where that does not matter. Raises Unauthorized, TooManyRequests."""
        path, client = scope["path"], scope["client"][0] if scope.get("client") else ""
        if path == ADMIN or path.startswith(ADMIN + "/"):
            return self._gate.authenticate(headers, client=client)
        return None


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body, already read, once more, and then what the client does."""
    waiting = True

    async def replayed() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return replayed


class _Response:
    """Sends a response with the lane's headers, and knows whether it has begun. A stream ends with the token that
    opened it.
    """

    def __init__(self, send: Send, receive: Receive, trace_id: str) -> None:
        self._send = send
        self._receive = receive
        self._trace_id = trace_id
        self.status: int | None = None
        self.body_is_waiting = False
        self._is_open: Callable[[], bool] = lambda: True

    def lasts_while(self, is_open: Callable[[], bool]) -> None:
        """End a stream when this is no longer so, instead of sending more of it."""
        self._is_open = is_open

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [pair for pair in message.get("headers", ()) if pair[0] != b"x-trace-id"]
            trace = (b"x-trace-id", self._trace_id.encode("ascii"))
            message = {**message, "headers": [*own, trace, *SECURITY_HEADERS]}
        elif message.get("more_body") and not self._is_open():
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
            raise ClientDisconnected
        await self._send(message)

    async def refuse(self, error: UhlpError) -> None:
        """Answer with the envelope, unless an answer is on its way already."""
        if self.status is None:
            status, headers, body = error_response(error, self._trace_id)
            if self.body_is_waiting:
                await send_early(self.send, self._receive, status, headers, body)
                return
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
