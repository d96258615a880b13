"""A server of the newest protocol, which knows no sessions: made with the official SDK."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types.version import LATEST_MODERN_VERSION

from tests.unit.tools.gateway.gateway_parts import Applications, context, gateway_of
from tests.unit.web.fakes import listening
from uhlp.errors import ToolFailed, ToolNotFound
from uhlp.tools.gateway.mcp_gateway import McpGateway

LIMIT_S = 20.0


def stock_server() -> MCPServer:
    server = MCPServer("stock")

    @server.tool()
    def stock(item: str) -> dict[str, int]:
        """How many are there."""
        if item == "pears":
            return {"pears": 3}
        raise ToolError(f"there is no {item}")

    @server.tool()
    async def learn(context: Context) -> str:
        """Have one tool more."""
        server.add_tool(lambda: "new", name="price", description="What it costs.")
        await context.notify_tools_changed()
        return "learned"

    return server


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with listening(stock_server().streamable_http_app()) as port:
        yield f"http://127.0.0.1:{port}/mcp"


@pytest.fixture
async def gateway(url: str) -> AsyncIterator[McpGateway]:
    async with gateway_of(Applications(odd={"url": url})) as gateway:
        yield gateway


async def test_its_tools_are_called_without_a_session(gateway: McpGateway):
    answer = await gateway.call_tool("app.odd.stock", {"item": "pears"}, context())
    assert answer["structuredContent"] == {"pears": 3}
    with pytest.raises(ToolFailed, match="there is no plums"):
        await gateway.call_tool("app.odd.stock", {"item": "plums"}, context())
    with pytest.raises(ToolFailed):
        await gateway.call_tool("app.odd.stock", {}, context())


async def test_a_tool_it_learns_is_heard_of_over_its_stream_of_events(gateway: McpGateway):
    with pytest.raises(ToolNotFound):
        await gateway.call_tool("app.odd.price", {}, context())
    await gateway.call_tool("app.odd.learn", {}, context())
    async with asyncio.timeout(LIMIT_S):
        while not any(tool["name"] == "app.odd.price" for tool in await gateway.list_tools(context())):
            await gateway.run_cycle()
    assert (await gateway.call_tool("app.odd.price", {}, context()))["content"][0]["text"] == "new"


async def test_the_newest_protocol_is_the_one_that_is_spoken(gateway: McpGateway):
    await gateway.call_tool("app.odd.stock", {"item": "pears"}, context())
    (told,) = gateway.describe("shop")
    assert (told["state"], told["protocol"]) == ("connected", LATEST_MODERN_VERSION)
