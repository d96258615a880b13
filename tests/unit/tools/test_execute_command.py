"""core.linux.executeCommand over the fake driver, whose programs have one habit each."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.shown_metrics import ShownMeter
from uhlp.clock import FakeClock
from uhlp.errors import (
    CommandRefused,
    DeadlineExceeded,
    InputInvalid,
    IsolationRefused,
    PayloadTooLarge,
    PermissionDenied,
    TooManyRequests,
    Unavailable,
    ValidationFailed,
)
from uhlp.llm import LlmSettings, ModelGateway
from uhlp.models.definition import LlmConfig
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.tools import CoreMCPServer, ToolCallRecord, ToolContext, ToolSession
from uhlp.tools.command_settings import CommandSettings
from uhlp.tools.core.linux_execute_command import EXECUTE_COMMAND, LinuxExecuteCommand
from uhlp.tools.recorded_session import RecordedSession

COPY, FAIL, HANG, FLOOD = "/usr/bin/copy", "/usr/bin/fail", "/usr/bin/hang", "/usr/bin/flood"
EVERY_PROGRAM = (COPY, FAIL, HANG, FLOOD)
LIMIT_S = 10.0


class DriverWithoutWalls(FakeDriver):
    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        raise IsolationRefused("This machine cannot isolate commands.")


class Desk:
    """Applications `desk` and `other` may run everything that the fake driver has."""

    def __init__(self, driver: FakeDriver | None = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.driver = driver or FakeDriver()
        self.has_started = asyncio.Event()
        self.meter = ShownMeter()
        self.listed = {"desk": EVERY_PROGRAM, "other": EVERY_PROGRAM}
        self.specs: list[CommandSpec] = []
        self.server = CoreMCPServer(
            gateway=ModelGateway(settings=LlmSettings(), clock=self.clock, meter=self.meter),
            metrics=self.meter,
            clock=self.clock,
            meter=self.meter,
            tools=(
                LinuxExecuteCommand(
                    settings=CommandSettings.model_validate({"allowed": {"*": EVERY_PROGRAM}, **settings}),
                    listed=lambda app_id: self.listed[app_id],
                    open_command=self._open,
                    clock=self.clock,
                    meter=self.meter,
                ).tool(),
            ),
        )

    async def _open(self, spec: CommandSpec) -> CommandProcess:
        self.specs.append(spec)
        command = await self.driver.open_command(spec)
        self.has_started.set()
        return command

    async def run(self, *argv: str, context: dict[str, Any] | None = None, **given: Any) -> dict[str, Any]:
        return await self.call({"command": list(argv), **given}, **(context or {}))

    def context(self, **changed: Any) -> ToolContext:
        given: dict[str, Any] = {
            "app_id": "desk",
            "component_id": "sorter",
            "request_id": "r1",
            "trace_id": "t1",
            "deadline": self.clock.monotonic() + 30,
            "allowed_tools": (EXECUTE_COMMAND,),
            "llm": LlmConfig(),
            "configuration": {},
            "purpose": "serve",
        }
        return ToolContext(**{**given, **changed})

    async def call(self, arguments: dict[str, Any], **changed: Any) -> dict[str, Any]:
        async with asyncio.timeout(LIMIT_S):
            return await self.server.call_tool(EXECUTE_COMMAND, arguments, self.context(**changed))

    async def comes_to_rest(self) -> bool:
        return await self.driver.list_owned() == []


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    yield made
    assert await made.comes_to_rest()


async def test_a_command_gets_its_input_and_gives_its_output(desk: Desk) -> None:
    assert await desk.run(COPY, "-x", stdin="b\na\n") == {
        "stdout": "b\na\n",
        "stdoutEncoding": "utf8",
        "stdoutTruncated": False,
        "stderr": "",
        "stderrEncoding": "utf8",
        "stderrTruncated": False,
        "exitCode": 0,
        "timedOut": False,
    }
    (spec,) = desk.specs
    assert (spec.owner, spec.argv, spec.environment, spec.has_network) == ("desk", (COPY, "-x"), {}, False)


async def test_a_command_may_be_given_as_path_and_arguments(desk: Desk) -> None:
    assert (await desk.call({"command": {"path": COPY, "args": ["-x"]}, "stdin": "a"}))["stdout"] == "a"
    assert desk.specs[0].argv == (COPY, "-x")


async def test_a_command_that_fails_says_how(desk: Desk) -> None:
    answer = await desk.run(FAIL)
    assert (answer["exitCode"], answer["stderr"], answer["timedOut"]) == (3, "no such thing\n", False)


async def test_bytes_that_are_no_text_travel_as_base64(desk: Desk) -> None:
    data = base64.b64encode(b"\xff\x00\xfe").decode()
    answer = await desk.run(COPY, stdin=data, stdinEncoding="base64")
    assert (answer["stdout"], answer["stdoutEncoding"]) == (data, "base64")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sort", "no plain absolute path"),
        ("/usr/bin/../bin/copy", "no plain absolute path"),
        ("/usr/bin/./copy", "no plain absolute path"),
        ("//usr/bin/copy", "no plain absolute path"),
        ("/usr/bin/copy/", "no plain absolute path"),
        ("/usr/bin/copy\n", "no plain absolute path"),
        ("/bin/copy", "commands.allowed does not give /bin/copy to application desk"),
        ("/bin/sh", "commands.allowed does not give /bin/sh to application desk"),
        ("/usr/bin/COPY", "commands.allowed does not give"),
    ],
)
async def test_a_path_that_is_not_allowed_to_the_letter_is_refused_with_the_reason(
    desk: Desk, path: str, reason: str
) -> None:
    with pytest.raises(CommandRefused, match=reason):
        await desk.run(path)
    assert desk.specs == []


async def test_nothing_is_allowed_where_the_settings_say_nothing() -> None:
    desk = Desk(allowed={})
    with pytest.raises(CommandRefused, match=r"commands\.allowed"):
        await desk.run(COPY)


async def test_a_definition_takes_away_from_the_servers_list_and_never_adds_to_it() -> None:
    desk = Desk(allowed={"desk": [COPY], "other": [FAIL]})
    desk.listed = {"desk": (COPY, FAIL), "other": (HANG,)}
    assert (await desk.run(COPY))["exitCode"] == 0
    for path, app_id, who in ((FAIL, "desk", "server"), (FAIL, "other", "Application"), (COPY, "other", "server")):
        with pytest.raises(CommandRefused, match=who):
            await desk.run(path, context={"app_id": app_id})


async def test_a_command_sees_what_its_application_may_run_and_nothing_else() -> None:
    desk = Desk(allowed={"*": [COPY, FAIL, HANG]})
    desk.listed["desk"] = (COPY, HANG)
    await desk.run(COPY)
    assert desk.specs[0].programs == (COPY, HANG)


async def test_a_component_that_does_not_list_the_tool_cannot_call_it(desk: Desk) -> None:
    with pytest.raises(Exception, match="There is no tool"):
        await desk.run(COPY, context={"allowed_tools": ("core.framework.getConfigValue",)})


@pytest.mark.parametrize("purpose", ["shadow", "replay", "audit", "reference", "coder", "judge"])
async def test_an_execution_that_answers_nobody_runs_no_command(desk: Desk, purpose: str) -> None:
    with pytest.raises(PermissionDenied, match=purpose):
        await desk.run(COPY, context={"purpose": purpose})
    assert desk.specs == []


async def test_an_execution_that_must_change_nothing_is_told_what_a_command_said_before(desk: Desk) -> None:
    arguments = {"command": [COPY], "stdin": "a"}
    answer = await desk.call(arguments)
    recorded = ToolCallRecord(EXECUTE_COMMAND, 1.0, "ok", arguments=arguments, result=answer)
    again = RecordedSession(ToolSession(desk.server, desk.context(purpose="shadow")), [recorded])
    assert await again.call(EXECUTE_COMMAND, arguments) == answer
    with pytest.raises(Unavailable, match="No result was recorded"):
        await again.call(EXECUTE_COMMAND, {"command": [COPY], "stdin": "b"})
    assert len(desk.specs) == 1


async def test_a_command_that_takes_too_long_is_ended(desk: Desk) -> None:
    answer = await desk.run(HANG, timeoutMs=20)
    assert (answer["timedOut"], answer["exitCode"]) == (True, None)


async def test_a_command_has_no_more_time_than_its_caller(desk: Desk) -> None:
    answer = await desk.run(HANG, timeoutMs=60_000, context={"deadline": desk.clock.monotonic() + 0.3})
    assert answer["timedOut"]
    with pytest.raises(DeadlineExceeded):
        await desk.run(HANG, context={"deadline": desk.clock.monotonic() + 0.1})


async def test_a_command_that_writes_without_end_is_ended_at_its_limit() -> None:
    desk = Desk(max_output_bytes=100)
    answer = await desk.run(FLOOD)
    assert (answer["stdout"], answer["stdoutTruncated"], answer["exitCode"]) == ("x" * 100, True, None)
    assert not answer["stderrTruncated"]
    assert await desk.comes_to_rest()


async def test_a_character_that_the_limit_cuts_in_two_is_left_out() -> None:
    answer = await Desk(max_output_bytes=4).run(COPY, stdin="äöü")
    assert (answer["stdout"], answer["stdoutTruncated"]) == ("äö", True)
    answer = await Desk(max_output_bytes=5).run(COPY, stdin="äöü")
    assert (answer["stdout"], answer["stdoutEncoding"], answer["stdoutTruncated"]) == ("äö", "utf8", True)


async def test_input_beyond_the_limit_is_refused() -> None:
    desk = Desk(max_stdin_bytes=3)
    with pytest.raises(PayloadTooLarge):
        await desk.run(COPY, stdin="äö")
    assert (await desk.run(COPY, stdin="abc"))["stdout"] == "abc"


@pytest.mark.parametrize(
    "arguments",
    [
        {"command": [COPY, "a\0b"]},
        {"command": [COPY, "\ud800"]},
        {"command": [COPY, *["x" * 65_536] * 5]},
        {"command": [COPY], "stdin": "not base64", "stdinEncoding": "base64"},
        {"command": [COPY], "stdin": "\ud800"},
    ],
)
async def test_what_no_program_can_be_given_is_refused(desk: Desk, arguments: dict[str, Any]) -> None:
    with pytest.raises(InputInvalid):
        await desk.call(arguments)
    assert desk.specs == []


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"command": []},
        {"command": f"{COPY} -x"},
        {"command": [COPY, 1]},
        {"command": {"args": ["a"]}},
        {"command": {"path": COPY, "shell": True}},
        {"command": [COPY], "env": {"LD_PRELOAD": "x"}},
        {"command": [COPY], "timeoutMs": 0},
        {"command": [COPY], "stdinEncoding": "latin-1"},
    ],
)
async def test_arguments_of_another_shape_are_refused(desk: Desk, arguments: dict[str, Any]) -> None:
    with pytest.raises(ValidationFailed):
        await desk.call(arguments)
    assert desk.specs == []


async def test_an_application_waits_for_its_own_commands_and_for_no_others() -> None:
    desk = Desk(per_application=1)
    first = asyncio.create_task(desk.run(HANG))
    await asyncio.wait_for(desk.has_started.wait(), LIMIT_S)
    with pytest.raises(TooManyRequests, match=r"commands\.per_application"):
        await desk.run(COPY, timeoutMs=20)
    assert (await desk.run(COPY, stdin="a", context={"app_id": "other"}))["stdout"] == "a"
    waiting = asyncio.create_task(desk.run(COPY, stdin="b"))
    await desk.driver.commands[0].kill()
    assert (await first)["exitCode"] == 137
    assert (await waiting)["stdout"] == "b"


async def test_a_caller_that_gives_up_leaves_nothing(desk: Desk) -> None:
    running = asyncio.create_task(desk.run(HANG))
    await asyncio.wait_for(desk.has_started.wait(), LIMIT_S)
    running.cancel()
    await asyncio.wait([running])
    assert await desk.comes_to_rest()


async def test_without_walls_nothing_runs_and_the_reason_is_told() -> None:
    with pytest.raises(IsolationRefused, match="cannot isolate"):
        await Desk(DriverWithoutWalls()).run(COPY)


async def test_commands_are_counted_by_how_they_ended(desk: Desk) -> None:
    await desk.run(COPY)
    await desk.run(FAIL)
    await desk.run(HANG, timeoutMs=20)
    with pytest.raises(CommandRefused):
        await desk.run("/bin/sh")
    shown = desk.meter.generate_latest_metrics().decode()
    for outcome in ("ok", "failed", "timed_out", "refused"):
        assert f'uhlp_commands_total{{appId="desk",outcome="{outcome}"}} 1.0' in shown
    assert 'uhlp_commands_running{appId="desk"} 0.0' in shown
