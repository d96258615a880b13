"""McpClient: what asks tools in this process."""

from typing import Protocol

from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject


class McpClient(Protocol):
    """What judges and proposers need of CoreMCPServer: so budget, audit and recording apply to them too."""

    async def call_tool(self, name: str, params: JsonObject, context: ToolContext) -> JsonObject: ...
