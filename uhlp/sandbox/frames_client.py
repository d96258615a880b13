"""FramesClient: a worker of our own runner, at the other end of a channel of JSON-RPC frames."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    OutputInvalid,
    PayloadTooLarge,
    SandboxDied,
    ToolNotFound,
    TooManyRequests,
    UhlpError,
)
from uhlp.sandbox.channel import Answer, Channel
from uhlp.sandbox.client import CallTool, McpAccess, NothingRan, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.deadlines import Deadlines
from uhlp.sandbox.driver import HttpAddress, Sandbox, Worker
from uhlp.sandbox.untrusted import MAX_BODY_BYTES, checked_response, read_tool_call, text
from uhlp.tracing import TraceContext

log = structlog.get_logger(__name__)

ARTIFACT_MISSING = -32001
TOOL_FAILED = -32000
INVALID_PARAMS = -32602
METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603

BYTES_PER_VALUE = 512
"""Memory that reading one small JSON value may take, with room for what else is in flight."""

MAX_TOOL_CALLS_AT_ONCE = 32
MAX_TOOL_CALLS = 10_000
"""Of one execution."""
MAX_LOG_LINES = 1_000
MAX_LOG_LINE_CHARS = 2_000
FLOOD_LOG_LINES = 20 * MAX_LOG_LINES
MAX_UNASKED_FRAMES = 100
"""Frames that nobody asked for and requests that are refused unheard, until the next call: no honest runner has any."""


class _Call:
    """One execution in flight: what answers its tools, and the tasks that do."""

    __slots__ = ("call_tool", "log_lines", "tasks", "tool_calls")

    def __init__(self, call_tool: CallTool | None) -> None:
        self.call_tool = call_tool
        self.tasks: set[asyncio.Task[None]] = set()
        self.log_lines = self.tool_calls = 0


class FramesClient(WorkerClient):
    """Tool calls and log lines travel back on the same channel; what an execution may call is `call_tool`."""

    is_fork = True
    carries_tool_calls = True

    def __init__(self, *, worker: Worker, sandbox: Sandbox, settings: SandboxSettings, clock: Clock) -> None:
        super().__init__(worker=worker, sandbox=sandbox, settings=settings, clock=clock)
        self._most_values = sandbox.spec.pool.resource_limits.memory_bytes // BYTES_PER_VALUE
        self._channel: Channel | None = None
        self._deadlines = Deadlines()
        self._artifacts: set[str] = set()
        self._calls: dict[str, _Call] = {}
        self._unasked = 0

    async def open(self) -> None:
        if isinstance(self.worker.endpoint, HttpAddress):
            raise SandboxDied("The worker speaks HTTP, not frames.")
        self._channel = await Channel.open(self.worker.endpoint, self)

    async def ping(self, timeout_s: float) -> bool:
        if self._channel is None or not self._channel.is_open:
            return False
        try:
            return (await self._call("ping", {}, asyncio.get_running_loop().time() + timeout_s)).error is None
        except (DeadlineExceeded, SandboxDied):
            return False

    def drain(self) -> None:
        if self._channel is not None:
            self._channel.notify("drain", {})

    @property
    def _is_shared(self) -> bool:
        return self.lane == "model"

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
        request_id: str = request["requestId"]
        self._unasked = 0
        call = self._calls[request_id] = _Call(call_tool)
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        try:
            self._send_artifacts(request, artifacts)
            answer = await self._execute(request, deadline_s)
            if answer.error is not None and answer.error.get("code") == ARTIFACT_MISSING:
                self._artifacts.clear()  # a runner may drop what it has; it says so at the next use
                self._send_artifacts(request, artifacts)
                answer = await self._execute(request, deadline_s)
            self.worn = self.worn or answer.worn
            return checked_response(answer, request_id)
        except SandboxDied as died:
            has_acted = not self._is_shared or call.tool_calls  # a template that asked no model has done nothing
            if has_acted or await asyncio.shield(self.end(died.message)) == "oom":
                raise
            raise NothingRan(died.message) from died
        finally:
            del self._calls[request_id]
            for task in call.tasks:
                task.cancel()

    def _execute(self, request: dict[str, Any], deadline_s: float) -> Awaitable[Answer]:
        most = self._most_values if self.lane == "model" else None  # the calls that share a worker would end with it
        return self._call("execute", request, deadline_s, max_bytes=MAX_BODY_BYTES, max_values=most)

    async def _call(self, method: str, params: dict[str, Any], deadline_s: float, **limits: Any) -> Answer:
        channel = self._open_channel()
        future = channel.call(method, params, **limits)
        self._deadlines.watch(future, deadline_s)
        try:
            return await future
        except (DeadlineExceeded, asyncio.CancelledError):
            channel.forget(future)
            raise
        finally:
            self._deadlines.forget(future)

    def _open_channel(self) -> Channel:
        if self._channel is None:
            raise SandboxDied("The worker is not open.")
        return self._channel

    def _send_artifacts(self, request: dict[str, Any], artifacts: Mapping[str, bytes]) -> None:
        """Send what the task names and the worker lacks, ahead of the call on the same stream: nobody waits for it."""
        task = request["context"]["task"]
        for reference in (task["artifact"], task.get("tests")):
            if reference is None or reference["sha256"] in self._artifacts:
                continue
            content = artifacts.get(reference["sha256"])
            if content is None:
                raise ExecutionFailed(f"The content of {reference['path']} was not given.")
            put = self._open_channel().call("artifact.put", {**reference, "content": content.decode()})
            put.add_done_callback(_drop_outcome)  # a failed put shows as ARTIFACT_MISSING
            self._artifacts.add(reference["sha256"])

    def _drop(self, request_id: str) -> None:
        if self._channel is not None:
            self._channel.notify("cancel", {"requestId": request_id})

    async def _disconnect(self, problem: str) -> None:
        self._break(problem)

    def _break(self, problem: str) -> None:
        if self._channel is not None:
            self._channel.close(problem)

    # What the worker says of its own accord (ChannelListener)

    def channel_lost(self, problem: str) -> None:
        self._deadlines.close()
        self._lose(problem)

    def notification_received(self, method: str, params: object) -> None:
        request_id = params.get("requestId") if method == "log" and type(params) is dict else None
        call = self._calls.get(request_id) if type(request_id) is str else None
        if call is None or type(params) is not dict:
            self._count_unasked()
            return
        call.log_lines += 1
        if call.log_lines <= MAX_LOG_LINES:
            line = text(params.get("message"), MAX_LOG_LINE_CHARS)  # may hold the input: never above debug
            log.debug("sandbox_log", request_id=request_id, level_inside=text(params.get("level"), 10), text=line)
        elif call.log_lines > FLOOD_LOG_LINES:
            self._break("The sandbox floods its log.")

    def _count_unasked(self) -> None:
        """A thread that a handler left behind may go on sending; it gets no more of the host's time than this."""
        self._unasked += 1
        if self._unasked > MAX_UNASKED_FRAMES:
            self._break("The sandbox speaks without being asked.")

    def request_received(self, rpc_id: int | str, method: str, params: object) -> None:
        channel = self._open_channel()
        tool_call = read_tool_call(params) if method == "tools/call" else None
        call = None if tool_call is None else self._calls.get(tool_call.request_id)
        if method != "tools/call":
            channel.refuse(rpc_id, METHOD_NOT_FOUND, "A sandbox may only call tools.")
        elif tool_call is None:
            channel.refuse(rpc_id, INVALID_PARAMS, "tools/call takes requestId, name and arguments.")
        elif call is None:
            self._refuse(rpc_id, ToolNotFound("The call names no execution in flight."))
        elif call.call_tool is None:
            self._refuse(rpc_id, ToolNotFound("This execution may call no tools."))
        elif len(call.tasks) >= MAX_TOOL_CALLS_AT_ONCE:
            self._refuse(rpc_id, TooManyRequests(f"At most {MAX_TOOL_CALLS_AT_ONCE} tool calls run at once."))
        elif call.tool_calls >= MAX_TOOL_CALLS:
            self._refuse(rpc_id, TooManyRequests(f"One execution may call tools {MAX_TOOL_CALLS} times."))
        else:
            call.tool_calls += 1
            answer = self._answer_tool(rpc_id, call.call_tool, tool_call.name, tool_call.arguments)
            task = asyncio.get_running_loop().create_task(answer)
            call.tasks.add(task)
            task.add_done_callback(call.tasks.discard)
            return
        self._count_unasked()

    async def _answer_tool(self, rpc_id: int | str, call_tool: CallTool, name: str, arguments: dict[str, Any]) -> None:
        channel = self._open_channel()
        try:
            channel.answer(rpc_id, await call_tool(name, arguments))
        except PayloadTooLarge as error:  # the result, or what the tool says of the arguments
            self._refuse(rpc_id, OutputInvalid(error.message))
        except UhlpError as error:
            self._refuse(rpc_id, error)
        except Exception:
            log.exception("tool_call_failed", tool=name)
            channel.refuse(rpc_id, INTERNAL_ERROR, "The tool failed.", {"code": "INTERNAL_ERROR", "retryable": False})

    def _refuse(self, rpc_id: int | str, error: UhlpError) -> None:
        data = {"code": error.code, "retryable": error.retryable}
        self._open_channel().refuse(rpc_id, TOOL_FAILED, error.message, data)


def _drop_outcome(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()
