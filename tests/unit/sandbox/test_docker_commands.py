"""Commands as containers: what they see, and which of them the sweep leaves alone."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from docker_parts import containers, docker_driver, opened
from raw_runner import new_data_dir

from uhlp.errors import CommandRefused, ImageUnavailable, IsolationRefused
from uhlp.sandbox.command import CommandLimits, CommandSpec
from uhlp.sandbox.command_run import CommandResult, run_command
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.interpreter import Interpreter

pytestmark = pytest.mark.usefixtures("runner_image")

PYTHON = str(Interpreter.own().executable)
LIMIT_S = 20.0
HANG = CommandSpec(owner="shop", argv=(PYTHON, "-c", "import time; time.sleep(1000)"))


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_data_dir(tmp_path_factory)


def ours(engine: str, data_dir: Path) -> list[str]:
    instance = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    return containers(engine, f"uhlp.instance={instance}")


async def python(driver: DockerDriver, source: str, **more: Any) -> CommandResult:
    spec = CommandSpec(owner="shop", argv=(PYTHON, "-I", "-c", source), **more)
    return await run_command(driver.open_command, spec, stdin=b"", timeout_s=LIMIT_S, most_output_bytes=100_000)


async def test_a_command_sees_folders_read_only_its_environment_and_its_limits(
    docker_engine: str, data_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "words"
    folder.mkdir(mode=0o755)
    (folder / "words.txt").write_text("figs")
    source = (
        "import os, resource\n"
        f"print(open('{folder}/words.txt').read(), os.environ['TOKEN'], os.getcwd(), os.environ['HOME'])\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[1], resource.getrlimit(resource.RLIMIT_CPU)[1])\n"
        f"try: open('{folder}/words.txt', 'w')\n"
        "except OSError as error: print(error.strerror)\n"
    )
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        given = {"environment": {"TOKEN": "t"}, "limits": CommandLimits(cpu_s=2.5, open_files=99)}
        result = await python(driver, source, folders=(folder,), **given)
        assert result.stdout.decode() == "figs t /tmp /tmp\n99 3\nRead-only file system\n", result
        for hidden in (data_dir, data_dir.parent, Path("/")):
            with pytest.raises(IsolationRefused):
                await python(driver, "", folders=(hidden,))
        with pytest.raises(ImageUnavailable):
            await python(driver, "", image="registry.example/tools:1")
        with pytest.raises(CommandRefused, match="no plain absolute path"):
            await driver.open_command(CommandSpec(owner="shop", argv=("python3",)))
        assert ours(docker_engine, data_dir) == []


async def test_a_sweep_leaves_a_command_that_runs_alone(docker_engine: str, data_dir: Path) -> None:
    async with opened(docker_driver(docker_engine, data_dir, orphan_grace_s=0)) as driver:
        command = await driver.open_command(HANG)
        await driver.run_cycle()
        assert ours(docker_engine, data_dir) == [command.command_id]
        await command.kill()
        assert ours(docker_engine, data_dir) == []
        assert await asyncio.wait_for(command.wait(), LIMIT_S) == 137


async def test_a_command_that_a_dead_server_left_is_removed_by_the_next(docker_engine: str, data_dir: Path) -> None:
    dead = docker_driver(docker_engine, data_dir)
    await dead.open()
    left = await dead.open_command(HANG)
    async with opened(docker_driver(docker_engine, data_dir)) as driver:
        assert await driver.list_owned() == []
        assert ours(docker_engine, data_dir) == []
        assert await asyncio.wait_for(left.wait(), LIMIT_S) == 137
    await dead.close()
