"""McpCaller: who calls over MCP, as an edge has recognised them; and what results look like to them."""

from typing import Protocol

from uhlp import strict_json
from uhlp.tools.tool import JsonObject

CALLER = "mcp_caller"
"""Where in an ASGI scope the caller stands."""
MESSAGE = "mcp_message"
"""Where the body's value stands, which has been read as strict JSON."""


class McpCaller(Protocol):
    """What somebody who was let in may reach."""

    @property
    def trace_id(self) -> str: ...

    async def list_tools(self) -> list[JsonObject]:
        """As MCP lists tools: name, description, inputSchema, …"""
        ...

    async def call_tool(self, name: str, arguments: JsonObject) -> JsonObject:
        """The result as MCP has it: content, structuredContent, isError. Raises UhlpError."""
        ...


def structured(value: JsonObject, text: str | None = None) -> JsonObject:
    """A result with structured content, and the same as text for clients that read no other."""
    told = strict_json.dumps(value).decode() if text is None else text
    return {"content": [{"type": "text", "text": told}], "structuredContent": value}


def result_of_tool(name: str, result: JsonObject) -> JsonObject:
    """What a tool of ToolNamespaces gave, as MCP has it: other servers' results are so already."""
    return structured(result) if name.startswith("core.") or "content" not in result else result
