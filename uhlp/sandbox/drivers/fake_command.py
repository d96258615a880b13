"""Commands of the fake driver: four programs in this process, each with one habit."""

import asyncio
from collections.abc import Awaitable, Callable

from uhlp.errors import CommandRefused
from uhlp.sandbox.command import CommandSpec
from uhlp.sandbox.drivers.bounded_pipe import BoundedPipe

_KILLED = 128 + 9


class FakeCommand:
    """Runs `program` as a task."""

    def __init__(self, command_id: str, program: "Program") -> None:
        self.command_id = command_id
        self.stdin, self.stdout, self.stderr = BoundedPipe(), BoundedPipe(), BoundedPipe()
        self._exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._task = asyncio.ensure_future(self._run(program))

    @property
    def has_ended(self) -> bool:
        return self._exited.done()

    async def write(self, data: bytes) -> None:
        if self.has_ended:
            raise ConnectionError("The command's input is closed.")
        await self.stdin.give(data)

    async def close_stdin(self) -> None:
        await self.stdin.end()

    async def read_stdout(self) -> bytes:
        return await self.stdout.take()

    async def read_stderr(self) -> bytes:
        return await self.stderr.take()

    async def wait(self) -> int:
        return await asyncio.shield(self._exited)

    async def kill(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._ended(_KILLED)

    async def _run(self, program: "Program") -> None:
        await self._ended(await program(self))

    async def _ended(self, status: int) -> None:
        if not self._exited.done():
            self._exited.set_result(status)
        for pipe in (self.stdin, self.stdout, self.stderr):
            await pipe.end()


Program = Callable[[FakeCommand], Awaitable[int]]


async def copy(command: FakeCommand) -> int:
    """What comes in goes out."""
    while piece := await command.stdin.take():
        await command.stdout.give(piece)
    return 0


async def fail(command: FakeCommand) -> int:
    """Complains, with status 3."""
    await command.stderr.give(b"no such thing\n")
    return 3


async def hang(command: FakeCommand) -> int:
    """Never ends."""
    await asyncio.Event().wait()
    return 0


async def flood(command: FakeCommand) -> int:
    """Writes for ever."""
    while True:
        await command.stdout.give(b"x" * 65536)


PROGRAMS: dict[str, Program] = {"/usr/bin/copy": copy, "/usr/bin/fail": fail, "/usr/bin/hang": hang,
                                "/usr/bin/flood": flood}  # fmt: skip


def start(spec: CommandSpec, number: int) -> FakeCommand:
    """Raises CommandRefused for a program that is not there."""
    if spec.argv[0] not in PROGRAMS:
        raise CommandRefused(f"There is no program {spec.argv[0]} here.")
    return FakeCommand(f"fake-command-{number}", PROGRAMS[spec.argv[0]])
