"""HttpClient: a worker of an image that users made, in any language, over HTTP/1.1 (contracts §6; seed 003 §3.4.5).

What goes out: `POST /execute` with an ExecuteRequest, `PUT /artifacts/<sha256>` with the bytes of a file and
`GET /healthz`, always with `Authorization: Bearer <the worker's token>`; on `/execute` also `X-Request-ID` and, where
the request belongs to a trace, `traceparent`. What may come back of `/execute`:

| status | body | means |
|---|---|---|
| 200 | ExecuteResponse | the answer |
| 400 | ExecuteFault | the image cannot run this request: ExecutionFailed |
| 409 | ExecuteFault, code ARTIFACT_MISSING, `sha256` | send that file, then repeat the request (once for each file) |
| 429 | anything | it is full: NoSandboxAvailable, with its `Retry-After` |
| 500 | ExecuteFault | the handler failed: answered as an `error` result with code HANDLER_FAILED, as our runner does |
| 503 | ExecuteFault | what the image needs cannot be reached: Unavailable |

Anything else, a body that is not strict JSON, another request's id, a connection that breaks: SandboxDied, and the
worker is ended. Redirects are not followed, cookies not kept, bodies not decompressed and read to 10 MiB at most; one
of too many values is OutputInvalid.
"""

import asyncio
import re
import secrets
import socket
from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

import aiohttp
import orjson

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    HandlerFailed,
    MalformedJson,
    NoSandboxAvailable,
    OutputInvalid,
    PayloadTooLarge,
    SandboxDied,
    Unavailable,
)
from uhlp.sandbox.channel import Answer
from uhlp.sandbox.client import CallTool, McpAccess, NothingRan, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import HttpAddress, Sandbox, Worker
from uhlp.sandbox.untrusted import MAX_BODY_BYTES, checked_response, text
from uhlp.sandbox.value_count import TOO_MANY_VALUES, holds_too_many_values

ARTIFACT_MISSING = "ARTIFACT_MISSING"
KEEP_ALIVE_S = 1.0
"""Shorter than any usual server keeps an idle connection: a call must not be sent into one that is being closed."""

CONNECT_TIMEOUT_S = 5.0
RECEIVED_BYTES = 8 * 1024
"""What the kernel keeps unread of one connection (it doubles this), and so what one turn of the loop may have to parse:
a burst of interim answers or of one-byte chunks takes the parser a thousand times what a large chunk does."""
MAX_FAULT_BYTES = 64 * 1024
MAX_RETRY_AFTER_S = 60.0
MESSAGE_CHARS = 2_000
TRACEBACK_CHARS = 8_000

_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}(?![0-9a-zA-Z])")
_NOT_IN_A_HEADER = re.compile(r"[^\x21-\x7e]")


class _Reply(NamedTuple):
    status: int
    body: bytes
    retry_after: str | None


class HttpClient(WorkerClient):
    """One session of kept connections to one worker; closed with it, which ends every call in flight.

    The worker reaches its tools at `mcp`, when the caller gives it: `call_tool` has no way back over HTTP.
    """

    def __init__(self, *, worker: Worker, sandbox: Sandbox, settings: SandboxSettings, clock: Clock) -> None:
        super().__init__(worker=worker, sandbox=sandbox, settings=settings, clock=clock)
        self._concurrency = sandbox.spec.pool.concurrency
        self._session: aiohttp.ClientSession | None = None
        self._url = ""
        self._problem: str | None = None

    async def open(self) -> None:
        address = self.worker.endpoint
        if not isinstance(address, HttpAddress):
            raise SandboxDied("The worker speaks frames, not HTTP.")
        self._url = address.url
        self._session = new_session(address)

    async def ping(self, timeout_s: float) -> bool:
        if self._session is None or self._problem is not None:
            return False
        return await is_healthy(self._session, self._url, timeout_s)

    def drain(self) -> None:
        """The protocol has no word for it: an image learns of its end by SIGKILL."""

    @property
    def _is_shared(self) -> bool:
        return self._concurrency != 1 if self.lane == "model" else (self._concurrency or 1) > 1

    async def _run(
        self,
        request: dict[str, Any],
        *,
        artifacts: Mapping[str, bytes],
        call_tool: CallTool | None,
        timeout_s: float,
        mcp: McpAccess | None,
    ) -> dict[str, Any]:
        if mcp is not None:
            access = {"mcpEndpoint": mcp.endpoint, "mcpToken": mcp.token}
            request = {**request, "context": {**request["context"], **access}}
        body = orjson.dumps(request)
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"execute takes {len(body)} bytes; a sandbox accepts {MAX_BODY_BYTES}.")
        headers = _headers(request["requestId"])
        limit = asyncio.timeout(max(0.0, timeout_s))
        try:
            async with limit:
                reply = await self._send("POST", "/execute", body, headers)
                sent: set[str] = set()
                while reply.status == 409 and (missing := _missing(reply, request, sent)) is not None:
                    await self._send_artifact(missing, artifacts)
                    sent.add(missing["sha256"])
                    reply = await self._send("POST", "/execute", body, headers)
        except TimeoutError:
            raise DeadlineExceeded() from None
        return _answer(reply, request["requestId"])

    async def _send_artifact(self, reference: dict[str, str], artifacts: Mapping[str, bytes]) -> None:
        content = artifacts.get(reference["sha256"])
        if content is None:
            raise ExecutionFailed(f"The content of {reference['path']} was not given.")
        headers = {"Content-Type": "application/octet-stream"}
        reply = await self._send("PUT", f"/artifacts/{reference['sha256']}", content, headers)
        if not 200 <= reply.status < 300:
            raise ExecutionFailed(f"The sandbox does not take {reference['path']}: it answered {reply.status}.")

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Reply:
        """One exchange. Raises NothingRan when the worker takes no connection, SandboxDied, OutputInvalid."""
        if self._session is None:
            raise SandboxDied("The worker is not open.")
        if self._problem is not None:
            raise SandboxDied(self._problem)
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                return _Reply(response.status, await _read(response), response.headers.get("Retry-After"))
        except aiohttp.ClientConnectorError as error:
            self.broken = self.broken or "It takes no connection."
            raise NothingRan(f"The sandbox takes no connection: {error.os_error.strerror}.") from None
        except (aiohttp.ClientError, OSError) as error:
            raise SandboxDied(self._problem or f"The sandbox broke the connection: {type(error).__name__}.") from None

    def _drop(self, request_id: str) -> None:
        """Its connection was closed with it."""

    async def _disconnect(self, problem: str) -> None:
        self._problem = self._problem or problem
        if self._session is not None:
            await self._session.close()


def new_session(address: HttpAddress) -> aiohttp.ClientSession:
    """Connections to one worker, with no limit of time but for connecting."""
    new_socket = address.new_socket

    def small_socket(found: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(*found[:3]) if new_socket is None else new_socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        return made

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0,
            keepalive_timeout=KEEP_ALIVE_S,
            socket_factory=small_socket,
        ),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        headers={"Authorization": f"Bearer {address.token}", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=RECEIVED_BYTES,
    )


async def is_healthy(session: aiohttp.ClientSession, url: str, timeout_s: float) -> bool:
    """True when `GET <url>/healthz` answers 200 in time; the body is not read."""
    try:
        async with asyncio.timeout(timeout_s), session.get(f"{url}/healthz", allow_redirects=False) as response:
            return response.status == 200
    except (aiohttp.ClientError, OSError):
        return False


def _headers(request_id: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "X-Request-ID": _NOT_IN_A_HEADER.sub("_", request_id)[:200]}
    trace_id = _TRACE_ID.match(request_id)  # an execution's id is its trace's id and a number
    if trace_id is not None:
        headers["traceparent"] = f"00-{trace_id[0]}-{secrets.token_hex(8)}-01"
    return headers


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body; never more than one chunk beyond the limit is read, and then the connection is closed."""
    chunks, size_bytes = [], 0
    async for chunk in response.content.iter_any():
        size_bytes += len(chunk)
        if size_bytes > MAX_BODY_BYTES:
            response.close()
            raise OutputInvalid(f"The answer takes more bytes than {MAX_BODY_BYTES}, which is the limit.")
        chunks.append(chunk)
    return b"".join(chunks)


def _missing(reply: _Reply, request: dict[str, Any], sent: set[str]) -> dict[str, str] | None:
    """The task's file that the worker says it lacks; None when it has been sent, or is no file of this task."""
    fault = _fault(reply.body)
    if fault.get("code") != ARTIFACT_MISSING:
        return None
    task = request["context"]["task"]
    for reference in (task["artifact"], task.get("tests")):
        if reference is not None and reference["sha256"] == fault.get("sha256") and reference["sha256"] not in sent:
            found: dict[str, str] = reference
            return found
    return None


def _answer(reply: _Reply, request_id: str) -> dict[str, Any]:
    if reply.status == 200:
        if holds_too_many_values(reply.body):
            raise OutputInvalid(f"The answer {TOO_MANY_VALUES}.")
        try:
            body = strict_json.loads(reply.body, max_depth=strict_json.DEEPEST, subject="The sandbox's answer")
        except MalformedJson as error:
            raise SandboxDied(error.message[:200]) from None
        return checked_response(Answer(body, None, len(reply.body)), request_id)
    if reply.status == 429:
        raise NoSandboxAvailable("The sandbox is full.", retry_after_s=_seconds(reply.retry_after))
    fault = _fault(reply.body)
    message = text(fault.get("message"), MESSAGE_CHARS)
    if reply.status == 500:
        data: dict[str, Any] = {"code": HandlerFailed.code, "message": message or HandlerFailed().message}
        if traceback := text(fault.get("traceback"), TRACEBACK_CHARS):
            data["details"] = {"traceback": traceback}
        return {"requestId": request_id, "resultType": "error", "data": data, "metrics": {}}
    if reply.status in (400, 409):
        raise ExecutionFailed(f"The sandbox refused the request: {text(fault.get('code'), 50)} {message}"[:250])
    if reply.status == 503:
        raise Unavailable(
            f"What the sandbox needs cannot be reached: {message[:200]}", retry_after_s=_seconds(reply.retry_after)
        )
    raise SandboxDied(f"The sandbox answered with status {reply.status}.")


def _fault(body: bytes) -> dict[str, Any]:
    """The ExecuteFault in a body; empty when it holds none, because a server's own error page is no worse a fault."""
    if len(body) > MAX_FAULT_BYTES:
        return {}
    try:
        fault = strict_json.loads(body)
    except MalformedJson:
        return {}
    return fault if isinstance(fault, dict) else {}


def _seconds(retry_after: str | None) -> float:
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return 1.0
    return min(max(seconds, 0.1), MAX_RETRY_AFTER_S) if isfinite(seconds) else 1.0
