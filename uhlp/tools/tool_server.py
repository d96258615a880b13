"""ToolServer: anything that answers tool calls. CoreMCPServer, McpGateway, and ToolNamespaces over both."""

from typing import Protocol

from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject


class ToolServer(Protocol):
    """Whoever calls has said in the context for whom; a server never leaves that application."""

    async def list_tools(self, context: ToolContext) -> list[JsonObject]:
        """The tools that `context` may use, as MCP lists them: name, description, inputSchema, …"""
        ...

    async def call_tool(self, name: str, params: JsonObject, context: ToolContext) -> JsonObject:
        """The tool's result within the context's deadline. ToolNotFound also for a tool the context may not use; every
        failure is a UhlpError."""
        ...
