"""Programs that speak MCP over their standard input and output, and misbehave; each in a real sandbox."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.unit.tools.gateway.gateway_parts import Applications, context, gateway_of
from tests.walls import need_walls
from uhlp.clock import FakeClock
from uhlp.errors import McpServerUnavailable
from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.tools.gateway.mcp_gateway import McpGateway

PYTHON = str(Interpreter.own().executable)
PROGRAM = Path(__file__).with_name("odd_program.py")
ECHO = "community.odd.echo"


@pytest.fixture(scope="module")
def assembled_runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runner")


@pytest.fixture
def data_dir(assembled_runner: Path) -> Iterator[Path]:
    """Short, because a socket's path may not be long; open, because sandboxes run under other users."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    (folder / "runner").symlink_to(assembled_runner)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def driver(data_dir: Path) -> AsyncIterator[ProcessDriver]:
    need_walls()
    driver = ProcessDriver(data_dir=data_dir, allow_unisolated=False, production=False)
    await driver.open()
    yield driver
    assert await driver.list_owned() == []
    await driver.close()


def gateway_over(
    driver: ProcessDriver, habit: str, *, clock: FakeClock | None = None, **server: Any
) -> AbstractAsyncContextManager[McpGateway]:
    command = [PYTHON, "-I", "-c", PROGRAM.read_text(), habit]
    shared = {"odd": {"command": command, "env": {"CRM_TOKEN": "secret:CRM_TOKEN"}, **server}}
    return gateway_of(Applications(odd={"ref": "odd"}), driver=driver, clock=clock, servers=shared)


async def test_noise_is_passed_over_and_logged_up_to_a_measure_and_without_secrets(driver: ProcessDriver):
    with capture_logs() as logs:
        async with gateway_over(driver, "is noisy") as gateway:
            answer = await gateway.call_tool(ECHO, {}, context("community.odd.*"))
            async with asyncio.timeout(20):
                while not (more := [entry for entry in logs if entry["event"] == "mcp_server_said_more"]):
                    await gateway.call_tool(ECHO, {}, context("community.odd.*"))
    assert answer["content"][0]["text"] == "x" * 10
    said = [entry["line"] for entry in logs if entry["event"] == "mcp_server_said"]
    assert (len(said), len(more)) == (200, 1)
    assert said[0].startswith("line 0 of **********x")
    assert all(len(line) <= 500 and "hush" not in line for line in said)


@pytest.mark.parametrize(
    ("habit", "reason"),
    [
        ("ends in a call", "may have run: its program ended with exit status 3"),
        ("talks too much", "max_message_bytes"),
        ("tells too many things", "entries of content"),
    ],
)
async def test_a_program_that_fails_in_a_call_is_started_again_and_then_left_alone(
    driver: ProcessDriver, habit: str, reason: str
):
    clock = FakeClock()
    async with gateway_over(driver, habit, clock=clock) as gateway:
        for _ in range(2):
            with pytest.raises(McpServerUnavailable, match=reason):
                await gateway.call_tool(ECHO, {}, context("community.odd.*"))
        with pytest.raises(McpServerUnavailable) as raised:
            await gateway.call_tool(ECHO, {}, context("community.odd.*"))
        assert raised.value.retry_after_s == 1.0
        assert await driver.list_owned() == []
        clock.advance(1)
        await gateway.run_cycle()
        assert gateway.describe("shop")[0]["state"] == "connected"
        assert len(await driver.list_owned()) == 1


@pytest.mark.parametrize(
    ("habit", "reason"),
    [("ends at once", "its program ended with exit status 7"), ("repeats everything", "it refuses the session")],
)
async def test_a_program_that_speaks_no_mcp_is_told_with_the_reason(driver: ProcessDriver, habit: str, reason: str):
    async with gateway_over(driver, habit) as gateway:
        with pytest.raises(McpServerUnavailable, match=reason):
            await gateway.call_tool(ECHO, {}, context("community.odd.*"))


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        ({"command": ["/usr/bin/none-such"]}, "none-such"),
        ({"folders": ["/nowhere/at/all"]}, "/nowhere/at/all"),
        ({"env": {"CRM_TOKEN": "secret:NOWHERE"}}, "there is no secret NOWHERE"),
    ],
)
async def test_a_program_that_cannot_be_started_is_told_with_the_reason(
    driver: ProcessDriver, server: dict[str, Any], reason: str
):
    async with gateway_over(driver, "", **server) as gateway:
        with pytest.raises(McpServerUnavailable, match=reason):
            await gateway.call_tool(ECHO, {}, context("community.odd.*"))


async def test_closing_the_gateway_ends_its_programs(driver: ProcessDriver):
    async with gateway_over(driver, "") as gateway:
        await gateway.call_tool(ECHO, {}, context("community.odd.*"))
        assert len(await driver.list_owned()) == 1
    assert await driver.list_owned() == []
