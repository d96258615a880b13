"""HttpClient: a worker of an image that users made, in any language, over HTTP/1.1 (contracts §6; seed 003 §3.4.5).

What goes out: `POST /execute` with an ExecuteRequest, `PUT /artifacts/<sha256>` with the bytes of a file and
`GET /healthz`, always with `Authorization: Bearer <the worker's token>`; on `/execute` also `X-Request-ID` and, where
the request belongs to a trace, `traceparent` and `tracestate`. What may come back of `/execute`:

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
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, ExecutionFailed, PayloadTooLarge, SandboxDied
from uhlp.sandbox.client import CallTool, McpAccess, NothingRan, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import HttpAddress, Sandbox, Worker
from uhlp.sandbox.http_reply import HttpReply, execute_response, missing_file
from uhlp.sandbox.http_session import is_healthy, new_session
from uhlp.sandbox.untrusted import MAX_BODY_BYTES
from uhlp.tracing import TraceContext

_NOT_IN_A_HEADER = re.compile(r"[^\x21-\x7e]")


class HttpClient(WorkerClient):
    """One session of kept connections to one worker; closed with it, which ends every call in flight.

    A call's `mcp` goes out in its context. An answer that repeats its token, as an error's text may, is read without.
    """

    is_fork = False
    carries_tool_calls = False

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
        trace: TraceContext | None,
    ) -> dict[str, Any]:
        if mcp is not None:
            access = {"mcpEndpoint": mcp.endpoint, "mcpToken": mcp.token}
            request = {**request, "context": {**request["context"], **access}}
        body = orjson.dumps(request)
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"execute takes {len(body)} bytes; a sandbox accepts {MAX_BODY_BYTES}.")
        headers = _headers(request["requestId"], trace)
        limit = asyncio.timeout(max(0.0, timeout_s))
        try:
            async with limit:
                reply = await self._send("POST", "/execute", body, headers)
                sent: set[str] = set()
                while reply.status == 409 and (missing := missing_file(reply, request, sent)) is not None:
                    await self._send_artifact(missing, artifacts)
                    sent.add(missing["sha256"])
                    reply = await self._send("POST", "/execute", body, headers)
        except TimeoutError:
            raise DeadlineExceeded() from None
        if mcp is not None:
            reply = reply._replace(body=reply.body.replace(mcp.token.encode(), b"[token]"))
        return execute_response(reply, request["requestId"])

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
    ) -> HttpReply:
        """One exchange. Raises NothingRan when the worker takes no connection, SandboxDied, OutputInvalid."""
        if self._session is None:
            raise SandboxDied("The worker is not open.")
        if self._problem is not None:
            raise SandboxDied(self._problem)
        try:
            async with self._session.request(
                method, self._url + path, data=body, headers=headers, allow_redirects=False
            ) as response:
                return await HttpReply.of(response)
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


def _headers(request_id: str, trace: TraceContext | None) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "X-Request-ID": _NOT_IN_A_HEADER.sub("_", request_id)[:200]}
    return headers if trace is None else headers | trace.headers()
