"""WorkerClient: one worker as the host sees it. Nothing that a worker says is trusted.

Two kinds, told apart by the worker's endpoint and only by `open_client`: FramesClient speaks with our own runner, over
JSON-RPC frames; HttpClient with an image that users made, over `POST /execute`. One contract suite holds for both.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import structlog

from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, ExecutionFailed, SandboxDied, SandboxOutOfMemory
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import ExitReason, Sandbox, Worker
from uhlp.sandbox.untrusted import states_out_of_memory
from uhlp.tracing import TraceContext

log = structlog.get_logger(__name__)

CallTool = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any]]]
"""Answers a tool call of one execution: (name, arguments) to the structured result; raises UhlpError."""

LaneName = Literal["handler", "model"]
"""A worker runs handlers, one call at a time, or model calls, many at a time; a handler never shares a process."""

Identity = tuple[str, str]
"""(component id, sha256 of its code): what a handler's worker is bound to with its first call, for life."""


class McpAccess(NamedTuple):
    """Where an execution over HTTP reaches this server (`/record` and the like lie below it), and the short-lived token
    that it is known by there."""

    endpoint: str
    token: str


class NothingRan(SandboxDied):
    """The worker could not be reached, or ended before the call did anything; any other worker may run it."""


class WorkerClient(ABC):
    """Executes on one worker.

    `in_flight`, `lane`, `identity`, `fresh`, `is_refill`, `called_s`, `idle_since_s` belong to the pool it is in.
    """

    is_fork: ClassVar[bool]
    """Another one like it costs milliseconds and a little memory, not a container."""
    carries_tool_calls: ClassVar[bool]
    """`call_tool` has a way back on its channel; without one there is `mcp`, where the caller gives it."""

    def __init__(self, *, worker: Worker, sandbox: Sandbox, settings: SandboxSettings, clock: Clock) -> None:
        self.worker = worker
        self.sandbox_id = sandbox.sandbox_id
        self.instance_id = f"{sandbox.sandbox_id}/{worker.worker_id}"
        self.lane: LaneName | None = None
        self.identity: Identity | None = None
        self.fresh = False
        self.is_refill = False
        """It was started beside a call, for the next that needs one."""
        self.in_flight = 0
        self.requests = 0
        self.started_s = self.called_s = self.idle_since_s = clock.monotonic()
        self.on_lost: Callable[[WorkerClient], None] | None = None
        """Called when the worker ended, or must, without having been told to."""
        self.broken: str | None = None
        """Why it must serve no further call, and those in flight fail."""
        self.worn = False
        """It takes no further call; those in flight may finish. A runner says so with the answer of code that may have
        left something behind, and ends itself so when it ran out of memory."""
        self.outlived_kill = False
        """The driver could not end it: its whole sandbox has to go."""

        self._settings = settings
        self._running: set[str] = set()
        self._ending: asyncio.Task[ExitReason] | None = None
        self._check: asyncio.Task[None] | None = None

    async def execute(
        self,
        request: dict[str, Any],
        *,
        artifacts: Mapping[str, bytes],
        call_tool: CallTool | None,
        timeout_s: float,
        mcp: McpAccess | None = None,
        trace: TraceContext | None = None,
    ) -> dict[str, Any]:
        """Run one request; the ExecuteResponse body, checked.

        Raises DeadlineExceeded, NothingRan, SandboxDied, SandboxOutOfMemory, PayloadTooLarge (the
        request), OutputInvalid (the answer is too large or too deep), ExecutionFailed; over HTTP also
        NoSandboxAvailable and Unavailable, where the image says so. After a timeout or a cancellation a worker that
        runs one call at a time is broken, because only killing it ends the call; one that calls share is told to drop
        it, and broken if it then does not answer a ping.
        """
        request_id: str = request["requestId"]
        if request_id in self._running:
            raise ExecutionFailed("An execution with this request id is in flight on the same worker.")
        self._running.add(request_id)
        self.requests += 1
        try:
            body = await self._run(
                request, artifacts=artifacts, call_tool=call_tool, timeout_s=timeout_s, mcp=mcp, trace=trace
            )
            self.worn = self.worn or states_out_of_memory(body)
            return body
        except (DeadlineExceeded, asyncio.CancelledError):
            if self._is_shared:
                self._drop(request_id)
                self._check_after_drop()
            else:
                self.broken = "Its call was abandoned."
            raise
        except NothingRan:
            raise
        except SandboxDied as died:
            if await asyncio.shield(self.end(died.message)) == "oom":
                raise SandboxOutOfMemory() from None
            raise
        finally:
            self._running.discard(request_id)

    def end(self, problem: str) -> "asyncio.Task[ExitReason]":
        """Kill the worker, once; the task gives the reason and never raises (see `outlived_kill`)."""
        if self._ending is None:
            self.broken = self.broken or problem
            self._ending = asyncio.get_running_loop().create_task(self._end(problem))
        return self._ending

    @abstractmethod
    async def open(self) -> None:
        """Get ready to speak with the worker."""

    @abstractmethod
    async def ping(self, timeout_s: float) -> bool:
        """True when the worker answers in time; never raises, changes nothing."""

    @abstractmethod
    def drain(self) -> None:
        """Tell the worker that no further call will come."""

    @property
    @abstractmethod
    def _is_shared(self) -> bool:
        """Calls run side by side on this worker: one that is given up must not end the others."""

    @abstractmethod
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
        """`execute`, less what both kinds of client do."""

    @abstractmethod
    def _drop(self, request_id: str) -> None:
        """Nobody waits for this call any more, on a worker that calls share."""

    @abstractmethod
    async def _disconnect(self, problem: str) -> None:
        """Speak with the worker no more; calls in flight fail with SandboxDied."""

    def _lose(self, problem: str) -> None:
        self.broken = self.broken or problem
        if self.on_lost is not None:
            self.on_lost(self)

    def _check_after_drop(self) -> None:
        if self._ending is None and (self._check is None or self._check.done()):
            self._check = asyncio.get_running_loop().create_task(self._disconnect_unless_it_answers())

    async def _disconnect_unless_it_answers(self) -> None:
        if not await self.ping(self._settings.ping_timeout_s):
            problem = "The worker let a call run out of time and hangs."
            await self._disconnect(problem)
            if self.broken is None:
                self._lose(problem)

    async def _end(self, problem: str) -> ExitReason:
        if self._check is not None:
            self._check.cancel()
        try:
            async with asyncio.timeout(self._settings.kill_timeout_s):
                await self._disconnect(problem)
                return await self.worker.kill()
        except Exception:
            log.exception("worker_kill_failed", instance_id=self.instance_id)
            self.outlived_kill = True
            return "killed"
