"""The other door to the sessions of executions that run."""

import asyncio
from typing import Any

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import DeadlineExceeded, ToolNotFound, TooManyRequests
from uhlp.models.definition import LlmConfig
from uhlp.sandbox.frames_client import MAX_TOOL_CALLS, MAX_TOOL_CALLS_AT_ONCE
from uhlp.tools import ToolContext, ToolSession
from uhlp.tools.recorded_session import RecordedSession
from uhlp.tools.session import ToolCallRecord
from uhlp.tools.tool_sessions import ToolSessions

READ = "core.state.getRuntimeValue"


class Waiting:
    """A tool server whose calls end when they are told to."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.may_end = asyncio.Event()
        self.running = 0
        self._changed = asyncio.Event()

    async def runs(self, number: int) -> None:
        """Returns when so many calls run."""
        async with asyncio.timeout(30):
            while self.running != number:
                await self._changed.wait()

    def _count(self, change: int) -> None:
        self.running += change
        self._changed.set()
        self._changed = asyncio.Event()

    async def call_tool(self, name: str, params: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        if name == "core.nothing.here":
            raise ToolNotFound
        self._count(1)
        try:
            await self.may_end.wait()
        finally:
            self._count(-1)
        return {"called": name}


def session_of(server: Any) -> ToolSession:
    return ToolSession(
        server,
        ToolContext(
            app_id="desk", component_id="triage", request_id="r1", trace_id="t1", deadline=30.0, allowed_tools=(READ,),
            llm=LlmConfig(), configuration={}, purpose="serve",
        ),
    )  # fmt: skip


async def test_a_session_is_found_while_its_execution_runs() -> None:
    sessions, server = ToolSessions(), Waiting()
    server.may_end.set()
    session = session_of(server)
    assert sessions.find("r1.1") is None
    with sessions.running("r1.1", session):
        running = sessions.find("r1.1")
        assert running is not None
        assert await running.call_tool(READ, {}) == {"called": READ}
        with pytest.raises(ToolNotFound):
            await running.call_tool("core.nothing.here", {})
    assert sessions.find("r1.1") is None
    assert [(call.tool, call.outcome) for call in session.calls] == [
        (READ, "ok"),
        ("core.nothing.here", "TOOL_NOT_FOUND"),
    ]
    assert session.begun == 2


async def test_calls_that_still_run_end_with_the_execution() -> None:
    sessions, server = ToolSessions(), Waiting()
    with sessions.running("r1.1", session_of(server)):
        running = sessions.find("r1.1")
        assert running is not None
        calls = [asyncio.create_task(running.call_tool(READ, {})) for _ in range(3)]
        await server.runs(3)
    for call in calls:
        with pytest.raises(DeadlineExceeded):
            await call
    assert server.running == 0


async def test_who_stops_waiting_ends_the_call() -> None:
    sessions, server = ToolSessions(), Waiting()
    with sessions.running("r1.1", session_of(server)):
        running = sessions.find("r1.1")
        assert running is not None
        call = asyncio.create_task(running.call_tool(READ, {}))
        await server.runs(1)
        call.cancel()
        await server.runs(0)
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_so_many_calls_run_at_once_and_no_more() -> None:
    sessions, server = ToolSessions(), Waiting()
    with sessions.running("r1.1", session_of(server)):
        running = sessions.find("r1.1")
        assert running is not None
        calls = [asyncio.create_task(running.call_tool(READ, {})) for _ in range(MAX_TOOL_CALLS_AT_ONCE)]
        await server.runs(MAX_TOOL_CALLS_AT_ONCE)
        with pytest.raises(TooManyRequests, match="at once"):
            await running.call_tool(READ, {})
        server.may_end.set()
        await asyncio.gather(*calls)
        assert await running.call_tool(READ, {}) == {"called": READ}


async def test_an_execution_has_so_many_calls_in_all() -> None:
    sessions, server = ToolSessions(), Waiting()
    server.may_end.set()
    with sessions.running("r1.1", session_of(server)):
        running = sessions.find("r1.1")
        assert running is not None
        for _ in range(MAX_TOOL_CALLS):
            await running.call_tool(READ, {})
        with pytest.raises(TooManyRequests, match=str(MAX_TOOL_CALLS)):
            await running.call_tool(READ, {})


async def test_an_execution_that_is_told_a_recording_is_told_it_here_too() -> None:
    sessions = ToolSessions()
    recorded = RecordedSession(session_of(Waiting()), [ToolCallRecord(READ, 1.0, "ok", 0, {"key": "a"}, {"value": 7})])
    with sessions.running("r1.1", recorded):
        running = sessions.find("r1.1")
        assert running is not None
        assert await running.call_tool(READ, {"key": "a"}) == {"value": 7}
