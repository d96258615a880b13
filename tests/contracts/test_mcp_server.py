"""A third-party MCP server keeps the same promises whether it is reached over HTTP or started in a sandbox."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.free_port import free_port
from tests.node_programs import FOLDER, node, node_program
from tests.unit.tools.gateway import gateway_parts
from tests.unit.tools.gateway.gateway_parts import Applications, context, gateway_of
from tests.walls import need_walls
from uhlp.clock import SystemClock
from uhlp.errors import DeadlineExceeded, McpServerUnavailable, ToolFailed, ToolNotFound
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.interpreter import Interpreter
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.tools import ToolContext
from uhlp.tools.gateway.mcp_gateway import McpGateway

LIMIT_S = 60.0
ODD_PROGRAM = Path(gateway_parts.__file__).with_name("odd_program.py")
ECHO = "community.everything.echo"


class HttpServer:
    """The program on a port of this machine."""

    def __init__(self) -> None:
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self.settings = {"url": f"http://127.0.0.1:{self._port}/mcp"}

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *node_program("@modelcontextprotocol/server-everything", "mcp-server-everything"),
            "streamableHttp",
            env={**os.environ, "PORT": str(self._port)},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(LIMIT_S):
            while b"listening" not in (line := await self._process.stderr.readline()):
                assert line, "the server ended"

    async def kill(self) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        raise AssertionError("nothing is started for a server that has an address")

    aclose = kill


class StdioServer:
    """The program as the gateway starts it: `started` are its processes."""

    def __init__(self, data_dir: Path) -> None:
        need_walls()
        self._driver = ProcessDriver(data_dir=data_dir, allow_unisolated=False, production=False)
        argv = node_program("@modelcontextprotocol/server-everything", "mcp-server-everything")
        self.settings = {
            "command": [*argv, "stdio"],
            "folders": [str(FOLDER), str(node().parent.parent)],
            "env": {"GREETING": "hello", "API_KEY": "Bearer secret:CRM_TOKEN"},
        }
        self.started: list[CommandProcess] = []

    async def start(self) -> None:
        if not self.started:
            await self._driver.open()

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        command = await self._driver.open_command(spec)
        self.started.append(command)
        return command

    async def kill(self) -> None:
        await self.started[-1].kill()

    async def aclose(self) -> None:
        assert await self._driver.list_owned() == []
        await self._driver.close()


@pytest.fixture(params=["http", "stdio"])
async def server(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[HttpServer | StdioServer]:
    made = HttpServer() if request.param == "http" else StdioServer(data_dir)
    await made.start()
    yield made
    await made.aclose()


@pytest.fixture
async def gateway(server: HttpServer | StdioServer) -> AsyncIterator[McpGateway]:
    applications = Applications(everything={"ref": "everything"})
    applications.set("desk", everything={"ref": "everything"})
    async with gateway_of(
        applications, clock=SystemClock(), driver=server, servers={"everything": server.settings}
    ) as gateway:
        yield gateway


def patient(**changed: Any) -> ToolContext:
    return context(clock=SystemClock(), timeout_s=LIMIT_S, **changed)


async def test_its_tools_are_listed_under_its_name_and_called_by_it(gateway: McpGateway) -> None:
    listed = {tool["name"]: tool for tool in await gateway.list_tools(patient())}
    assert listed[ECHO]["inputSchema"]["required"] == ["message"]
    answer = await gateway.call_tool(ECHO, {"message": "grüße"}, patient())
    assert answer == {"content": [{"type": "text", "text": "Echo: grüße"}], "isError": False}
    answers = await asyncio.gather(
        *(gateway.call_tool("community.everything.get-sum", {"a": n, "b": n}, patient()) for n in range(20))
    )
    assert [answer["content"][0]["text"].split()[-1].strip(".") for answer in answers] == [
        str(2 * n) for n in range(20)
    ]


async def test_its_results_are_typed_blocks(gateway: McpGateway) -> None:
    image = await gateway.call_tool("community.everything.get-tiny-image", {}, patient())
    kinds = {block["type"]: block for block in image["content"]}
    assert set(kinds) == {"text", "image"}
    assert kinds["image"]["mimeType"] == "image/png"
    links = await gateway.call_tool("community.everything.get-resource-links", {"count": 2}, patient())
    assert [block["type"] for block in links["content"]][-1] == "resource_link"
    reference = {"resourceType": "Text", "resourceId": 1}
    resource = await gateway.call_tool("community.everything.get-resource-reference", reference, patient())
    assert "text" in next(block for block in resource["content"] if block["type"] == "resource")["resource"]
    weather = await gateway.call_tool("community.everything.get-structured-content", {"location": "Chicago"}, patient())
    assert set(weather["structuredContent"]) == {"temperature", "conditions", "humidity"}


async def test_its_refusals_are_typed_errors(gateway: McpGateway) -> None:
    with pytest.raises(ToolFailed):
        await gateway.call_tool("community.everything.get-sum", {"a": "one"}, patient())
    with pytest.raises(ToolNotFound):
        await gateway.call_tool("community.everything.nothing", {}, patient())
    slow = context(clock=SystemClock(), timeout_s=0.3)
    with pytest.raises(DeadlineExceeded):
        await gateway.call_tool("community.everything.trigger-long-running-operation", {"duration": 20}, slow)
    await gateway.call_tool(ECHO, {"message": "after"}, patient())


async def test_applications_have_servers_of_their_own(server: HttpServer | StdioServer, gateway: McpGateway) -> None:
    for app_id in ("shop", "desk"):
        await gateway.call_tool(ECHO, {"message": app_id}, patient(app_id=app_id))
    if isinstance(server, StdioServer):
        assert len({command.command_id for command in server.started}) == 2


async def test_a_server_that_ended_is_met_anew(server: HttpServer | StdioServer, gateway: McpGateway) -> None:
    await gateway.call_tool(ECHO, {"message": "before"}, patient())
    await server.kill()
    if isinstance(server, StdioServer):  # a call that is written to one that has just ended may have run
        await asyncio.wait_for(server_idle(gateway), LIMIT_S)
    await server.start()
    await gateway.call_tool(ECHO, {"message": "after"}, patient())


async def test_a_server_that_ends_during_a_call_is_told_to_its_caller(
    server: HttpServer | StdioServer, gateway: McpGateway
) -> None:
    await gateway.call_tool(ECHO, {"message": "before"}, patient())
    slow = {"duration": 60, "steps": 60}
    calling = asyncio.create_task(
        gateway.call_tool("community.everything.trigger-long-running-operation", slow, patient())
    )
    await gateway.call_tool(ECHO, {"message": "the slow one is there before this one"}, patient())
    await server.kill()
    with pytest.raises(McpServerUnavailable, match="may have run"):
        await asyncio.wait_for(calling, LIMIT_S)
    await server.start()
    await gateway.call_tool(ECHO, {"message": "after"}, patient())


async def test_a_program_sees_its_own_environment_and_its_secrets_come_back_masked(data_dir: Path) -> None:
    server = StdioServer(data_dir)
    await server.start()
    applications = Applications(everything={"ref": "everything"})
    async with gateway_of(
        applications, clock=SystemClock(), driver=server, servers={"everything": server.settings}
    ) as gateway:
        answer = await gateway.call_tool("community.everything.get-env", {}, patient())
    told = answer["content"][0]["text"]
    assert '"GREETING": "hello"' in told
    assert '"API_KEY": "Bearer **********"' in told
    assert "HOME" in told
    assert str(Path.home()) not in told
    await server.aclose()


async def test_a_program_that_nobody_uses_is_ended(data_dir: Path) -> None:
    server = StdioServer(data_dir)
    await server.start()
    applications = Applications(everything={"ref": "everything"})
    async with gateway_of(
        applications,
        clock=SystemClock(),
        driver=server,
        servers={"everything": server.settings},
        idle_timeout_s=0.001,
    ) as gateway:
        await gateway.call_tool(ECHO, {"message": "once"}, patient())
        await asyncio.wait_for(server_idle(gateway), LIMIT_S)
        assert await asyncio.wait_for(server.started[0].wait(), LIMIT_S) != 0
    await server.aclose()


@pytest.mark.parametrize("driver", ["process", "docker", "docker over stdio"], indirect=True)
@pytest.mark.usefixtures("walls_for_commands")
async def test_every_driver_starts_programs(opened: Driver) -> None:
    program = {"command": [str(Interpreter.own().executable), "-I", "-c", ODD_PROGRAM.read_text(), ""]}
    applications = Applications(odd={"ref": "odd"})
    async with gateway_of(applications, clock=SystemClock(), driver=opened, servers={"odd": program}) as gateway:
        answer = await gateway.call_tool("community.odd.echo", {}, patient(allowed_tools=("community.odd.*",)))
        assert answer["content"] == [{"type": "text", "text": "x" * 10}]
        assert len(await opened.list_owned()) == 1
    assert await opened.list_owned() == []


async def server_idle(gateway: McpGateway) -> None:
    while gateway.describe("shop")[0]["state"] != "idle":
        await gateway.run_cycle()
        await asyncio.sleep(0)
