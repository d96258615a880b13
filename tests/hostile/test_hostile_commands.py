"""Commands that attack, each in `commands/` and in the table below: what is seen of them, that they end in time, and
that nothing of them is left. Whatever runs them, the walls are the same."""

import asyncio
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.unit.sandbox.raw_runner import isolated_driver
from uhlp.clock import SystemClock
from uhlp.sandbox.command import CommandLimits, CommandProcess, CommandSpec
from uhlp.sandbox.command_run import CommandResult, run_command
from uhlp.sandbox.config import DockerSettings, SandboxSettings
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.identities import Identities
from uhlp.sandbox.drivers.interpreter import Interpreter

PROGRAMS = Path(__file__).parent / "commands"
PYTHON = str(Interpreter.own().executable)
GRACE_S = 10.0
"""For the end of a command that has used up its time, on a machine where others run too."""

KEEPER = "import sys, time; open('/tmp/secret', 'w').write(sys.argv[1]); print('kept', flush=True); time.sleep(1000)"


@dataclass(frozen=True)
class Says:
    """It ends by itself, and has got nothing but this."""

    text: str


@dataclass(frozen=True)
class Ends:
    """By itself or by a wall, with one of these statuses; what it says is nothing or this."""

    statuses: tuple[int, ...]
    text: str = ""


TIMED_OUT, CUT = "timed out", "cut off"
EXPECTED: dict[str, Says | Ends | str] = {
    "burn_the_processor": TIMED_OUT,
    "double_fork_daemon": Says("gone\n"),
    "fill_the_disk": Says("['/tmp'] True\n"),
    "flood_both_streams": CUT,
    "flood_stdout": CUT,
    "fork_bomb": TIMED_OUT,
    "ignore_every_signal": TIMED_OUT,
    "kill_everybody": Ends((137, 0)),  # a container's first process hears no signal from within
    "memory_in_many_processes": Ends((0, 137), "bounded\n"),
    "raise_the_limits": Says("[]\n"),
    "reach_the_network": Says("[]\n"),
    "read_secrets": Says("[]\n"),
    "regain_privileges": Says("[] [] 1 2 False\n"),
    "start_other_programs": Says("[] None\n"),
    "take_all_memory": Ends((0, 137), "got 0\n"),  # refused by the kernel, or ended by the container's bound
}


@dataclass
class Street:
    """A driver, a command that keeps a secret beside those that attack, and where secrets lie."""

    place: str
    driver: Driver
    keeper: CommandProcess
    marker: str
    data_dir: Path
    port: int
    abstract: str

    async def attack(self, name: str, timeout_s: float) -> CommandResult:
        arguments = {
            "reach_the_network": (str(self.port), self.abstract, self.place),
            "read_secrets": (
                self.marker,
                str(self.data_dir),
                f"{self.data_dir}/secret",
                f"/proc/{os.getpid()}/environ",
            ),
        }.get(name, ())
        source = (PROGRAMS / f"{name}.py").read_text()
        spec = CommandSpec(
            owner="shop",
            argv=(PYTHON, "-I", "-c", source, *arguments),
            limits=CommandLimits(cpu_s=timeout_s + 1),
        )
        async with asyncio.timeout(timeout_s + GRACE_S):
            return await run_command(
                self.driver.open_command, spec, stdin=b"x" * 100_000, timeout_s=timeout_s, most_output_bytes=100_000
            )

    async def what_lives(self) -> tuple[list[str], list[int]]:
        """Sandboxes, as the machine or the engine knows them, and processes of the users that commands may have."""
        return await self.driver.list_owned(), await asyncio.to_thread(self._processes)

    def leaves_no_file(self) -> bool:
        """No mount and no folder of a command's."""
        is_mounted = str(self.data_dir) in Path("/proc/self/mountinfo").read_text()
        return not is_mounted and {path.name for path in self.data_dir.iterdir()} <= {"runner", "secret", "dial"}

    def _processes(self) -> list[int]:
        first = Identities(str(self.data_dir)).take()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if first is not None and first <= folder.stat().st_uid < first + 1000:
                    found.append(int(folder.name))
            except OSError:
                continue
        return sorted(found)


@pytest.fixture(scope="module", params=["process", "docker"])
def place(request: pytest.FixtureRequest) -> str:
    """Where commands run: "process", or the engine's address."""
    if request.param == "process":
        return "process"
    request.getfixturevalue("runner_image")
    return str(request.getfixturevalue("docker_engine"))


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def street(place: str, data_dir: Path) -> AsyncIterator[Street]:
    driver: Driver
    if place == "process":
        driver = await isolated_driver(data_dir)
    else:
        config = SandboxSettings(docker=DockerSettings(url=place, spare_sandboxes=0))
        driver = DockerDriver(data_dir=data_dir, config=config, clock=SystemClock(), read_secret=lambda name: None)
        await driver.open()
    marker = secrets.token_hex(16)
    (data_dir / "secret").write_text(marker)
    abstract = f"uhlp-{secrets.token_hex(8)}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as named:
        named.bind(f"\0{abstract}")
        named.listen()
        keeper = await driver.open_command(CommandSpec(owner="other", argv=(PYTHON, "-I", "-c", KEEPER, marker)))
        assert await asyncio.wait_for(keeper.read_stdout(), 10) == b"kept\n"
        port = server.getsockname()[1]
        yield Street(place.removeprefix("unix://"), driver, keeper, marker, data_dir, port, abstract)
        await keeper.kill()
        await driver.close()


def test_every_command_has_an_expectation_and_every_expectation_a_command() -> None:
    assert {path.stem for path in PROGRAMS.glob("*.py")} == set(EXPECTED)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", EXPECTED)
async def test_a_hostile_command_gets_nothing_ends_in_time_and_leaves_nothing(street: Street, name: str) -> None:
    expected: Any = EXPECTED[name]
    before = await street.what_lives()
    assert before[0] == [street.keeper.command_id]
    got = await street.attack(name, 0.7 if expected is TIMED_OUT else 10.0)
    if isinstance(expected, Says):
        assert (got.stdout.decode(), got.stderr.decode()[-500:], got.exit_code) == (expected.text, "", 0)
    elif isinstance(expected, Ends):
        assert got.exit_code in expected.statuses, got
        assert got.stdout.decode() in ("", expected.text), got
    else:
        assert got.exit_code is None
        assert got.timed_out == (expected is TIMED_OUT), got
        assert (got.stdout_truncated or got.stderr_truncated) == (expected is CUT), got
    assert await street.what_lives() == before
    assert street.leaves_no_file()
