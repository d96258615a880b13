"""What a command keeps, whoever runs it: its streams, its end, and that nothing of it is left."""

import asyncio
from pathlib import Path

import pytest

from uhlp.errors import CommandRefused
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.interpreter import Interpreter

pytestmark = [
    pytest.mark.parametrize("driver", ["fake", "process", "docker"], indirect=True),
    pytest.mark.usefixtures("walls_for_commands"),
]

PYTHON = str(Interpreter.own().executable)
LIMIT_S = 20.0
HABITS = {
    "copy": "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)",
    "fail": "import sys; print('no such thing', file=sys.stderr); sys.exit(3)",
    "hang": "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)",
    "flood": "import os\nwhile True: os.write(1, b'x' * 65536)",
}
"""What the fake driver's programs do, for drivers that run real ones."""


async def start(driver: Driver, habit: str) -> CommandProcess:
    argv = (f"/usr/bin/{habit}",) if isinstance(driver, FakeDriver) else (PYTHON, "-I", "-c", HABITS[habit])
    return await driver.open_command(CommandSpec(owner="shop", argv=argv))


async def all_of(command: CommandProcess) -> tuple[bytes, bytes]:
    async def drain(errors: bool) -> bytes:
        read = b""
        while piece := await (command.read_stderr() if errors else command.read_stdout()):
            read += piece
        return read

    async with asyncio.timeout(LIMIT_S):
        out, errors = await asyncio.gather(drain(False), drain(True))
    return out, errors


async def test_what_goes_in_comes_out_until_its_input_ends(opened: Driver) -> None:
    command = await start(opened, "copy")
    reading = asyncio.ensure_future(all_of(command))
    for piece in (b"one\n", b"\x00\xff" * 100_000, b"three\n"):
        await command.write(piece)
    await command.close_stdin()
    await command.close_stdin()
    assert await reading == (b"one\n" + b"\x00\xff" * 100_000 + b"three\n", b"")
    assert await asyncio.wait_for(command.wait(), LIMIT_S) == 0
    await command.kill()
    assert await opened.list_owned() == []


async def test_its_errors_and_its_status_are_told_apart_from_its_output(opened: Driver) -> None:
    command = await start(opened, "fail")
    assert await all_of(command) == (b"", b"no such thing\n")
    assert await asyncio.wait_for(command.wait(), LIMIT_S) == 3
    await command.kill()


async def test_a_command_that_listens_to_nobody_is_killed(opened: Driver) -> None:
    command = await start(opened, "hang")
    assert await opened.list_owned() == [command.command_id]
    await asyncio.wait_for(command.kill(), LIMIT_S)
    await command.kill()
    assert await asyncio.wait_for(command.wait(), LIMIT_S) == 128 + 9
    assert await all_of(command) == (b"", b"")
    with pytest.raises(ConnectionError):
        await command.write(b"more")
    assert await opened.list_owned() == []


async def test_output_that_nobody_reads_holds_the_command_and_not_the_server(opened: Driver) -> None:
    command = await start(opened, "flood")
    assert set(await asyncio.wait_for(command.read_stdout(), LIMIT_S)) == {ord("x")}
    assert len(await asyncio.wait_for(command.read_stdout(), LIMIT_S)) <= 64 * 1024
    await asyncio.wait_for(command.kill(), LIMIT_S)
    assert await opened.list_owned() == []


async def test_a_program_that_is_not_there_is_refused_and_leaves_nothing(opened: Driver) -> None:
    with pytest.raises(CommandRefused, match="/usr/bin/none-such"):
        await opened.open_command(CommandSpec(owner="shop", argv=("/usr/bin/none-such",)))
    assert await opened.list_owned() == []


async def test_closing_the_driver_ends_its_commands(driver: Driver, data_dir: Path) -> None:
    await driver.open()
    command = await start(driver, "hang")
    await driver.close()
    assert await asyncio.wait_for(command.wait(), LIMIT_S) == 128 + 9
    assert await driver.list_owned() == []


async def test_closing_the_driver_ends_commands_that_are_being_started(driver: Driver) -> None:
    await driver.open()
    starting = []
    for _ in range(4):
        starting.append(asyncio.ensure_future(start(driver, "hang")))
        await asyncio.sleep(0)
    await driver.close()
    await asyncio.wait(starting, timeout=LIMIT_S)
    for each in starting:
        if each.exception() is None:
            assert await asyncio.wait_for(each.result().wait(), LIMIT_S) == 128 + 9
    assert await driver.list_owned() == []


async def test_starts_that_are_given_up_at_any_moment_leave_nothing(opened: Driver) -> None:
    for moment in range(12):
        starting = asyncio.ensure_future(start(opened, "hang"))
        for _ in range(1 + moment):
            await asyncio.sleep(0)  # it has begun
        starting.cancel()
        await asyncio.wait([starting], timeout=LIMIT_S)
        if not starting.cancelled():
            await starting.result().kill()  # it was faster
        assert await opened.list_owned() == []
