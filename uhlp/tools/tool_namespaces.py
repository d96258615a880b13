"""ToolNamespaces: one door to all tools. `core.` is this process, `community.` and `app.` are MCP servers."""

from uhlp.clock import Clock
from uhlp.errors import ToolNotFound
from uhlp.tools.allowed_tools import is_allowed
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject
from uhlp.tools.tool_server import ToolServer


class ToolNamespaces:
    """A ToolServer over `core` and `gateway`; without a gateway the other namespaces are empty."""

    def __init__(self, *, core: ToolServer, gateway: ToolServer | None = None, clock: Clock) -> None:
        self.clock = clock
        self._servers = {"core": core} | ({} if gateway is None else {"community": gateway, "app": gateway})

    async def list_tools(self, context: ToolContext) -> list[JsonObject]:
        """The tools of all namespaces that `context` may use. A server that is away lists nothing."""
        servers = dict.fromkeys(self._servers.values())
        return [
            tool
            for server in servers
            for tool in await server.list_tools(context)
            if is_allowed(tool["name"], context.allowed_tools)
        ]

    async def call_tool(self, name: str, params: JsonObject, context: ToolContext) -> JsonObject:
        """Call a tool by its full name. Raises ToolNotFound, also for one that `context` may not use."""
        server = self._servers.get(name.partition(".")[0])
        if server is None or not is_allowed(name, context.allowed_tools):
            raise ToolNotFound(f"There is no tool '{name[:100]}' for component '{context.component_id}'.")
        return await server.call_tool(name, params, context)
