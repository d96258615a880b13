"""core.linux.executeCommand: a program in a throw-away sandbox of its own, never on the host (seed 003 §3.4)."""

import asyncio
import base64
import binascii
import codecs
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from weakref import WeakValueDictionary

from uhlp.catalogue import sandboxes
from uhlp.clock import Clock
from uhlp.errors import CommandRefused, DeadlineExceeded, InputInvalid, PayloadTooLarge, TooManyRequests
from uhlp.metering import Meter
from uhlp.models.program_path import is_plain_path
from uhlp.sandbox.command import CommandLimits, CommandProcess, CommandSpec
from uhlp.sandbox.command_run import CommandResult, run_command
from uhlp.tools.command_settings import CommandSettings
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject, Tool, arguments

EXECUTE_COMMAND = "core.linux.executeCommand"

_MIB = 1024 * 1024
_MOST_ARGUMENT_BYTES = 256 * 1024
_ANSWER_TIME_S = 0.25
"""Kept back from the caller's deadline, so that it hears of a command that took too long."""

_ARGUMENT: JsonObject = {"type": "string", "maxLength": 65_536}
_PATH: JsonObject = {"type": "string", "minLength": 1, "maxLength": 1024}
_ENCODING: JsonObject = {"enum": ["utf8", "base64"]}
INPUT_SCHEMA = arguments(
    ["command"],
    command={
        "type": ["array", "object"],
        "prefixItems": [_PATH],
        "items": _ARGUMENT,
        "minItems": 1,
        "maxItems": 256,
        "properties": {"path": _PATH, "args": {"type": "array", "items": _ARGUMENT, "maxItems": 255}},
        "required": ["path"],
        "additionalProperties": False,
    },
    stdin={"type": "string"},
    stdinEncoding=_ENCODING,
    timeoutMs={"type": "integer", "minimum": 1},
)
OUTPUT_SCHEMA = arguments(
    ["stdout", "stdoutEncoding", "stdoutTruncated", "stderr", "stderrEncoding", "stderrTruncated", "exitCode",
     "timedOut"],
    stdout={"type": "string"},
    stdoutEncoding=_ENCODING,
    stdoutTruncated={"type": "boolean"},
    stderr={"type": "string"},
    stderrEncoding=_ENCODING,
    stderrTruncated={"type": "boolean"},
    exitCode={"type": ["integer", "null"]},
    timedOut={"type": "boolean"},
)  # fmt: skip


class LinuxExecuteCommand:
    """A program runs when the server's settings allow it to the application, and the application's definition lists it.

    `listed` gives the definition's list by application id. Output that is not UTF-8 comes as base64.
    """

    def __init__(
        self,
        *,
        settings: CommandSettings,
        listed: Callable[[str], Sequence[str]],
        open_command: Callable[[CommandSpec], Awaitable[CommandProcess]],
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._settings = settings
        self._listed = listed
        self._open_command = open_command
        self._clock = clock
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._commands = sandboxes.COMMANDS.on(meter)
        self._running = sandboxes.COMMANDS_RUNNING.on(meter)

    def tool(self) -> Tool:
        return Tool(
            name=EXECUTE_COMMAND,
            description="Run a program that this application may run, in a throw-away sandbox without a network. "
            "command is [absolute path, arguments…]; no shell reads it.",
            input_schema=INPUT_SCHEMA,
            output_schema=OUTPUT_SCHEMA,
            run=self.run,
            annotations={"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False},
            changes_state=True,
        )

    async def run(self, given: JsonObject, context: ToolContext) -> JsonObject:
        """Raises CommandRefused with the reason, InputInvalid, PayloadTooLarge, TooManyRequests, DeadlineExceeded, and
        what a sandbox that cannot be had raises (IsolationRefused, …)."""
        outcome = "refused"
        try:
            result = await self._run(given, context)
            outcome = _outcome(result)
        finally:
            self._commands.labels(context.app_id, outcome).inc()
        return _wire(result)

    async def _run(self, given: JsonObject, context: ToolContext) -> CommandResult:
        settings, app_id = self._settings, context.app_id
        argv, stdin = _argv(given["command"]), _stdin(given)
        if len(stdin) > settings.max_stdin_bytes:
            raise PayloadTooLarge(f"stdin is larger than {settings.max_stdin_bytes} bytes (commands.max_stdin_bytes).")
        programs = self._programs(app_id, argv[0])
        asked_s = given["timeoutMs"] / 1000 if "timeoutMs" in given else settings.default_timeout_s
        ends_s = self._clock.monotonic() + min(asked_s, settings.max_timeout_s)
        ends_s = min(ends_s, context.deadline - _ANSWER_TIME_S)
        async with self._turn(app_id, ends_s - self._clock.monotonic()):
            left_s = ends_s - self._clock.monotonic()
            memory_bytes = settings.memory_mib * _MIB
            limits = CommandLimits(memory_bytes=memory_bytes, processes=settings.processes, cpu_s=left_s + 1)
            return await run_command(
                self._open_command,
                CommandSpec(owner=app_id, argv=argv, programs=programs, image=settings.image, limits=limits),
                stdin=stdin,
                timeout_s=left_s,
                most_output_bytes=settings.max_output_bytes,
            )

    def _programs(self, app_id: str, path: str) -> tuple[str, ...]:
        """What the application may run, `path` among it. Raises CommandRefused."""
        if not is_plain_path(path):
            raise CommandRefused(
                f"{path[:200]!r} is no plain absolute path: write it without ., .. and doubled slashes, such as "
                "/usr/bin/sort; commands are not searched for, and no shell reads them."
            )
        allowed, listed = self._settings.programs_of(app_id), self._listed(app_id)
        if path not in allowed:
            raise CommandRefused(f"The server's setting commands.allowed does not give {path} to application {app_id}.")
        if path not in listed:
            raise CommandRefused(f"Application {app_id} does not list {path} under `commands` in its definition.")
        return tuple(sorted(allowed.intersection(listed)))

    @contextlib.asynccontextmanager
    async def _turn(self, app_id: str, timeout_s: float) -> AsyncIterator[None]:
        """Wait until the application runs fewer commands than it may. Raises TooManyRequests, DeadlineExceeded."""
        if timeout_s <= 0:
            raise DeadlineExceeded("No time is left for a command.")
        turn = self._turns.get(app_id)
        if turn is None:
            turn = self._turns[app_id] = asyncio.Semaphore(self._settings.per_application)
        try:
            async with asyncio.timeout(timeout_s):
                await turn.acquire()
        except TimeoutError:
            raise TooManyRequests(
                f"Application {app_id} runs {self._settings.per_application} commands already, as many as it may "
                "(commands.per_application).",
                retry_after_s=1.0,
            ) from None
        self._running.labels(app_id).inc()
        try:
            yield
        finally:
            self._running.labels(app_id).dec()
            turn.release()


def _argv(command: Any) -> tuple[str, ...]:
    """From either form. Raises InputInvalid for what no program can be given."""
    argv = (command["path"], *command.get("args", ())) if isinstance(command, dict) else tuple(command)
    try:
        size_bytes = sum(len(argument.encode()) + 1 for argument in argv)
    except UnicodeEncodeError as error:
        raise InputInvalid("command holds a character that is no Unicode text (a lone surrogate).") from error
    if any("\0" in argument for argument in argv) or size_bytes > _MOST_ARGUMENT_BYTES:
        raise InputInvalid(f"command holds a NUL character or more than {_MOST_ARGUMENT_BYTES} bytes.")
    return argv


def _stdin(given: JsonObject) -> bytes:
    """Raises InputInvalid when it is not what stdinEncoding says."""
    text = given.get("stdin", "")
    try:
        if given.get("stdinEncoding") == "base64":
            return base64.b64decode(text, validate=True)
        return text.encode()  # type: ignore[no-any-return] # its schema says that it is a string
    except (binascii.Error, ValueError) as error:
        raise InputInvalid("stdin is not what stdinEncoding says: utf8 text, or base64.") from error


def _outcome(result: CommandResult) -> str:
    if result.timed_out:
        return "timed_out"
    if result.exit_code is None:
        return "output_limit"
    return "ok" if result.exit_code == 0 else "failed"


def _wire(result: CommandResult) -> JsonObject:
    return {
        **_text("stdout", result.stdout, is_cut=result.stdout_truncated),
        **_text("stderr", result.stderr, is_cut=result.stderr_truncated),
        "exitCode": result.exit_code,
        "timedOut": result.timed_out,
    }


def _text(name: str, data: bytes, *, is_cut: bool) -> JsonObject:
    """As text where it is UTF-8; what is cut off there may end within a character, which is left out."""
    encoding = "utf8"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(data, final=not is_cut)
    except UnicodeDecodeError:
        text, encoding = base64.b64encode(data).decode(), "base64"
    return {name: text, f"{name}Encoding": encoding, f"{name}Truncated": is_cut}
