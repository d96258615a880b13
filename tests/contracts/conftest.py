"""Every driver, for the suites of what drivers make: sandboxes and commands."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.walls import need_walls
from uhlp.clock import SystemClock
from uhlp.sandbox.config import DockerSettings, SandboxSettings
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.process import ProcessDriver


@pytest.fixture(scope="module")
def assembled_runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where drivers keep what sandboxes run: every assembly costs half a second."""
    return tmp_path_factory.mktemp("runner")


@pytest.fixture
def data_dir(assembled_runner: Path) -> Any:
    """Short, because a socket's path may not be long; open, because sandboxes run under other users."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    (folder / "runner").symlink_to(assembled_runner)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def walls_for_commands(request: pytest.FixtureRequest) -> None:
    """No program of the machine's runs without any."""
    if request.node.callspec.params["driver"] == "process":
        need_walls()


REAL = ["process", "docker", "docker over stdio"]


@pytest.fixture(params=["fake", *REAL])
def driver(request: pytest.FixtureRequest, data_dir: Path) -> Driver:
    if request.param == "fake":
        return FakeDriver()
    if request.param == "process":
        return ProcessDriver(data_dir=data_dir, allow_unisolated=True, production=False)
    request.getfixturevalue("runner_image")
    docker = DockerSettings(
        url=request.getfixturevalue("docker_engine"), transport="stdio" if "stdio" in request.param else "unix"
    )
    return DockerDriver(
        data_dir=data_dir, config=SandboxSettings(docker=docker), clock=SystemClock(), read_secret=lambda name: None
    )


@pytest.fixture
async def opened(driver: Driver) -> AsyncIterator[Driver]:
    await driver.open()
    yield driver
    await driver.close()
