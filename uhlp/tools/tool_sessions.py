"""ToolSessions: the sessions of executions that run now, where tool calls that come over HTTP find theirs."""

import asyncio
from typing import Any

from uhlp.errors import DeadlineExceeded, TooManyRequests
from uhlp.sandbox.frames_client import MAX_TOOL_CALLS, MAX_TOOL_CALLS_AT_ONCE
from uhlp.tools.session import ToolSession
from uhlp.tools.tool import JsonObject


class RunningSession:
    """A session's other door, with the limits that the channel sets: so many calls in all and at once, and none that
    outlasts the execution. Open `with` it: a generator would cost every request more than the rest of this."""

    __slots__ = ("_begun", "_calls", "_request_id", "_running", "session")

    def __init__(self, session: ToolSession, request_id: str, running: "dict[str, RunningSession]") -> None:
        self.session = session
        self._request_id = request_id
        self._running = running
        self._begun = 0
        self._calls: set[asyncio.Task[JsonObject]] = set()

    async def list_tools(self) -> list[JsonObject]:
        """What the execution may call."""
        return await self.session.server.list_tools(self.session.context)

    async def call_tool(self, name: str, arguments: dict[str, Any]) -> JsonObject:
        """Call a tool in the execution's name. Raises UhlpError; DeadlineExceeded when the execution ended first."""
        if len(self._calls) >= MAX_TOOL_CALLS_AT_ONCE:
            raise TooManyRequests(f"At most {MAX_TOOL_CALLS_AT_ONCE} tool calls run at once.")
        if self._begun >= MAX_TOOL_CALLS:
            raise TooManyRequests(f"One execution may call tools {MAX_TOOL_CALLS} times.")
        self._begun += 1
        call = asyncio.ensure_future(self.session.call(name, arguments))
        self._calls.add(call)
        try:
            await asyncio.wait([call])
        finally:
            self._calls.discard(call)
            call.cancel()  # nobody waits any more; nothing happens to one that is done
        if call.cancelled():
            raise DeadlineExceeded("The execution was over before the tool had answered.")
        return call.result()

    def __enter__(self) -> None:
        self._running[self._request_id] = self

    def __exit__(self, *failure: object) -> None:
        del self._running[self._request_id]
        for call in self._calls:
            call.cancel()


class ToolSessions:
    """By request id, as the claim of a sandbox token has it."""

    def __init__(self) -> None:
        self._running: dict[str, RunningSession] = {}

    def running(self, request_id: str, session: ToolSession) -> RunningSession:
        """The session can be found for as long as the block runs; calls that have not ended end with it."""
        return RunningSession(session, request_id, self._running)

    def find(self, request_id: str) -> RunningSession | None:
        """The session of an execution; None when it is over."""
        return self._running.get(request_id)
