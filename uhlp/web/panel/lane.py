"""The panel's lane: log-in, the check of every request and websocket, and the panel itself, built when first needed."""

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uhlp.access.administrator import Administrator
from uhlp.errors import MethodNotAllowed, PermissionDenied, TooManyRequests, UhlpError, Unauthorized, Unavailable
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.admin_gate import AdminGate
from uhlp.web.answers import Headers, error_response
from uhlp.web.body import ClientDisconnected, read_body
from uhlp.web.built_when_needed import BuiltWhenNeeded
from uhlp.web.panel.login import login_page
from uhlp.web.panel.session import PanelSession

if TYPE_CHECKING:
    from uhlp.web.services import Services

PANEL = "/panel"
LOGIN = "/panel/login"
LOGOUT = "/panel/logout"
MOST_LOGIN_BYTES = 4_096
POLICY_VIOLATION = 1008
"""How a websocket is closed that may not be open."""

_LOGIN_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
_PANEL_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws: wss:; frame-ancestors 'none'"
)


class PanelLane:
    """ASGI application for /panel. NiceGUI is imported by the first request that has a session, not before."""

    def __init__(self, services: "Services", *, gate: AdminGate, stack: AsyncExitStack) -> None:
        self._services = services
        self._gate = gate
        self._stack = stack
        self._session = PanelSession(
            is_open_to=gate.is_open_to,
            clock=services.clock,
            lasts_s=services.settings.panel_session_s,
            secure=services.settings.secure_cookies,
        )
        self._panel = BuiltWhenNeeded(self._build)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send, headers)
            return
        try:
            await self._http(scope, receive, send, headers)
        except ClientDisconnected:
            return
        except UhlpError as error:
            status, own, body = error_response(error, trace_id_of(headers.get(b"traceparent")))
            await _answer(send, status, own, body)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]) -> None:
        """The panel's websocket, until its session ends: then neither side hears more of the other."""
        cookie = headers.get(b"cookie")
        administrator = self._session.administrator(cookie)
        if administrator is None or not _is_same_origin(headers, required=True):
            await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return
        is_closed = False

        async def is_over() -> bool:
            nonlocal is_closed
            if self._session.administrator(cookie) is not None:
                return False
            if not is_closed:
                is_closed = True
                await send({"type": "websocket.close", "code": POLICY_VIOLATION})
            return True

        async def receiving() -> Message:
            message = await receive()
            return {"type": "websocket.disconnect", "code": POLICY_VIOLATION} if await is_over() else message

        async def sending(message: Message) -> None:
            if not await is_over():
                await send(message)

        await self._serve(scope, receiving, sending, administrator)

    async def _http(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]) -> None:
        path, method = scope["path"], scope["method"]
        if method not in ("GET", "HEAD") and not _is_same_origin(headers, required=False):
            raise PermissionDenied("The request comes from another site.")
        if path == LOGIN:
            await self._log_in(scope, receive, send, headers)
        elif path == LOGOUT:
            if method != "POST":
                raise MethodNotAllowed(details={"allow": ["POST"]})
            await _redirect(send, LOGIN, self._session.end(headers.get(b"cookie")))
        elif (administrator := self._session.administrator(headers.get(b"cookie"))) is not None:
            await self._serve(scope, receive, _with_headers(send), administrator)
        elif method in ("GET", "HEAD"):
            await _redirect(send, LOGIN)
        else:
            raise Unauthorized("Log in to the panel first.")

    async def _log_in(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes]) -> None:
        if scope["method"] in ("GET", "HEAD"):
            await _page(send, 200, login_page())
            return
        if scope["method"] != "POST":
            raise MethodNotAllowed(details={"allow": ["GET", "HEAD", "POST"]})
        body = await read_body(
            receive, headers, limit_bytes=MOST_LOGIN_BYTES, timeout_s=self._services.settings.body_timeout_s
        )
        client = scope.get("client")
        given = parse_qs(body.decode("latin-1")).get("token", [""])[0].strip()
        try:
            administrator = self._gate.check(given.encode(), client=client[0] if client else "")
        except (Unauthorized, TooManyRequests) as refusal:
            await _page(send, refusal.status, login_page(refusal.message))
            return
        await _redirect(send, PANEL, self._session.issue(administrator))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, administrator: Administrator) -> None:
        """The panel finds who asks in `request.state.administrator`: {token_id, name, role}."""
        path = scope["path"] if scope["path"] != PANEL else PANEL + "/"
        state = {**scope.get("state", {}), "administrator": administrator}
        await self._panel({**scope, "path": path, "root_path": PANEL, "state": state}, receive, send)

    async def _build(self) -> ASGIApp:
        try:
            # The import takes seconds; in a thread the loop goes on serving.
            pages = await asyncio.to_thread(import_module, "uhlp.web.panel.panel_application")
        except ModuleNotFoundError as error:
            raise Unavailable(f"The panel needs {error.name}: pip install 'uhlp[panel]'.") from None
        panel: ASGIApp = await self._stack.enter_async_context(pages.open_panel(self._services))
        return panel


def _is_same_origin(headers: Mapping[bytes, bytes], *, required: bool) -> bool:
    origin = headers.get(b"origin")
    if origin is None:
        return not required
    return urlsplit(origin.decode("latin-1")).netloc == headers.get(b"host", b"").decode("latin-1")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_walls(_PANEL_POLICY)]}
        await send(message)

    return sending


def _walls(policy: bytes) -> Headers:
    return [
        (b"content-security-policy", policy),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"same-origin"),
    ]


async def _page(send: Send, status: int, body: bytes) -> None:
    await _answer(send, status, [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")], body)


async def _redirect(send: Send, location: str, cookie: str | None = None) -> None:
    headers: Headers = [(b"location", location.encode())]
    if cookie is not None:
        headers.append((b"set-cookie", cookie.encode()))
    await _answer(send, 303, headers, b"")


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    own = [pair for pair in headers if pair[0] != b"content-length"]
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*own, length, *_walls(_LOGIN_POLICY)]})
    await send({"type": "http.response.body", "body": body})
