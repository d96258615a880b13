"""What /mcp is held against: one tool in the official SDK as its documentation shows it, over HTTP without sessions."""

from typing import Any, TypedDict

from mcp.server.mcpserver import MCPServer

TOOL = "core.framework.getConfigValue"


class Found(TypedDict):
    found: bool
    value: Any


_server = MCPServer("bare", log_level="WARNING")


@_server.tool(name=TOOL)
async def _get_config_value(key: str, default: Any = None) -> Found:
    return {"found": False, "value": default}


app = _server.streamable_http_app(stateless_http=True, json_response=True)
