"""One command from its start to its end: input in, bounded output out, nothing left."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from uhlp.sandbox.command import CommandProcess, CommandSpec

_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class CommandResult:
    """`exit_code` is None for a command that was ended here: it ran out of time or wrote more than it may."""

    stdout: bytes
    stderr: bytes
    exit_code: int | None
    timed_out: bool
    stdout_truncated: bool
    stderr_truncated: bool


class _Output:
    """What a stream gave, up to its limit."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], most_bytes: int) -> None:
        self._read = read
        self._most_bytes = most_bytes
        self._taken = bytearray()

    @property
    def data(self) -> bytes:
        return bytes(self._taken[: self._most_bytes])

    @property
    def is_too_much(self) -> bool:
        return len(self._taken) > self._most_bytes

    async def drain(self) -> None:
        """Until its end. Raises _TooMuch as soon as it gives more than it may."""
        while piece := await self._read():
            self._taken += piece
            if self.is_too_much:
                raise _TooMuch


class _TooMuch(Exception):
    pass


async def run_command(
    open_command: Callable[[CommandSpec], Awaitable[CommandProcess]],
    spec: CommandSpec,
    *,
    stdin: bytes,
    timeout_s: float,
    most_output_bytes: int,
) -> CommandResult:
    """Start it, feed it, and take `most_output_bytes` of each stream; one that writes more is ended on the spot.

    `timeout_s` covers its start too. Raises what `open_command` raises.
    """
    out = errors = _Output(_nothing, 0)
    exit_code: int | None = None
    timed_out = False
    command: CommandProcess | None = None
    work: list[asyncio.Task[None]] = []
    try:
        async with asyncio.timeout(timeout_s):
            command = await open_command(spec)
            out = _Output(command.read_stdout, most_output_bytes)
            errors = _Output(command.read_stderr, most_output_bytes)
            work = [asyncio.create_task(each) for each in (_feed(command, stdin), out.drain(), errors.drain())]
            await asyncio.gather(*work)
            exit_code = await command.wait()
    except _TooMuch:
        pass
    except TimeoutError:
        timed_out = True
    finally:
        for task in work:
            task.cancel()
        if command is not None:
            await command.kill()
    return CommandResult(out.data, errors.data, exit_code, timed_out, out.is_too_much, errors.is_too_much)


async def _nothing() -> bytes:
    return b""


async def _feed(command: CommandProcess, stdin: bytes) -> None:
    with contextlib.suppress(ConnectionError):  # it need not read what it is given
        for start in range(0, len(stdin), _PIECE_BYTES):
            await command.write(stdin[start : start + _PIECE_BYTES])
        await command.close_stdin()
