"""McpLane: one MCP server of this server, from the request to the SDK: name, caller and body are checked before."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uhlp import strict_json
from uhlp.errors import InternalError, MalformedJson, MethodNotAllowed, UhlpError
from uhlp.tools.mcp_caller import CALLER, MESSAGE, McpCaller
from uhlp.tracing import TraceContext
from uhlp.web.answers import JSON_TYPE, Headers, error_response
from uhlp.web.body import LARGE_BYTES, ClientDisconnected, has_body, read_body, send_early
from uhlp.web.config import WebSettings
from uhlp.web.disconnect import DisconnectWatch
from uhlp.web.mcp.server_names import ServerNames

_PARSE_ERROR = -32700
_INVALID_REQUEST = -32600

log = structlog.get_logger(__name__)


class _NoRequest(Exception):
    """A message with an id that MCP does not know."""


class McpAccess(Protocol):
    """Recognises who calls."""

    async def caller(
        self, scope: Scope, headers: Mapping[bytes, bytes], *, client: str, trace: TraceContext
    ) -> McpCaller:
        """Whoever sent this request; raises UhlpError for whom is not let in."""
        ...


class McpLane:
    """ASGI application. `endpoint` is the SDK's; `own_headers` go out with every answer."""

    def __init__(
        self,
        endpoint: ASGIApp,
        *,
        access: McpAccess,
        names: ServerNames,
        settings: WebSettings,
        own_headers: Iterable[tuple[bytes, bytes]],
    ) -> None:
        self._endpoint = endpoint
        self._access = access
        self._names = names
        self._settings = settings
        self._own_headers = tuple(own_headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace = TraceContext.read(headers.get(b"traceparent"), headers.get(b"tracestate"))
        try:
            caller, body, message = await self._admit(scope, receive, headers, trace)
        except ClientDisconnected:
            return
        except MalformedJson as error:
            told = _refusal(_PARSE_ERROR, error.message)
            await _answer(send, 400, [*self._told(trace.trace_id), JSON_TYPE], told)
            return
        except _NoRequest:
            told = _refusal(_INVALID_REQUEST, "The id of a request is a string or a whole number.")
            await _answer(send, 400, [*self._told(trace.trace_id), JSON_TYPE], told)
            return
        except UhlpError as error:
            await self._refuse(error, scope, receive, send, trace.trace_id)
            return
        except Exception:
            log.exception("request_failed", path=scope["path"], trace_id=trace.trace_id)
            await self._refuse(InternalError(), scope, receive, send, trace.trace_id)
            return
        await self._forward({**scope, CALLER: caller, MESSAGE: message}, receive, send, body, trace.trace_id)

    async def _refuse(self, error: UhlpError, scope: Scope, receive: Receive, send: Send, trace_id: str) -> None:
        status, own, body = error_response(error, trace_id)
        if "body_was_read" not in scope and has_body(dict(scope["headers"])):
            await send_early(send, receive, status, [*self._own_headers, *own], body)
        else:
            await _answer(send, status, [*self._own_headers, *own], body)

    def _told(self, trace_id: str) -> Headers:
        return [*self._own_headers, (b"x-trace-id", trace_id.encode("ascii"))]

    async def _admit(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], trace: TraceContext
    ) -> tuple[McpCaller, bytes, Any]:
        if scope["method"] != "POST":  # without sessions there is no stream to GET and nothing to DELETE
            raise MethodNotAllowed(details={"allow": ["POST"]})
        self._names.check(headers)
        client = scope.get("client")
        caller = await self._access.caller(scope, headers, client=client[0] if client else "", trace=trace)
        body = await read_body(
            receive, headers, limit_bytes=self._settings.max_body_bytes, timeout_s=self._settings.body_timeout_s
        )
        scope["body_was_read"] = True
        # Here and not by the SDK, whose reader takes NaN, and the last of equal names.
        message = (
            await asyncio.to_thread(strict_json.loads, body) if len(body) > LARGE_BYTES else strict_json.loads(body)
        )
        if isinstance(message, dict) and "id" in message and type(message["id"]) not in (str, int):
            raise _NoRequest  # the SDK would take it for a notification, and who sent it would wait for ever
        return caller, body, message

    async def _forward(self, scope: Scope, receive: Receive, send: Send, body: bytes, trace_id: str) -> None:
        """Let the SDK answer; a client that leaves ends its call, as there is no other way to hear of its end."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("an ASGI application runs in a task")
        is_answering, told = False, self._told(trace_id)

        async def sending(message: Message) -> None:
            nonlocal is_answering
            if message["type"] == "http.response.start":
                is_answering = True
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        watch = DisconnectWatch(receive, task, asyncio.get_running_loop())
        try:
            await self._endpoint(scope, _replay(body), sending)
        except asyncio.CancelledError:
            if not watch.client_left:
                raise
            task.uncancel()
        except Exception:
            log.exception("request_failed", path=scope["path"], trace_id=trace_id)
            if not is_answering:
                await self._refuse(InternalError(), scope, receive, send, trace_id)
        finally:
            watch.stop()


def _replay(body: bytes) -> Receive:
    """The body that was read, once more; and then nothing: whether the client leaves is watched elsewhere."""
    waiting = True

    async def replayed() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    return replayed


def _refusal(code: int, message: str) -> bytes:
    """JSON-RPC's answer to what has no id that could be told."""
    return strict_json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}})


async def _answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    if not any(name == b"content-length" for name, _ in headers):
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
