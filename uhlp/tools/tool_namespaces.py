"""ToolNamespaces: one door to all tools. `core.` is this process, `community.` and `app.` are MCP servers."""

from dataclasses import replace
from typing import TYPE_CHECKING

from uhlp.clock import Clock
from uhlp.errors import ToolNotFound, UhlpError
from uhlp.tools.allowed_tools import is_allowed
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject
from uhlp.tools.tool_server import ToolServer

if TYPE_CHECKING:
    from uhlp.tracing.tracer import Tracer

TOOL_NAME = "gen_ai.tool.name"
"""As OpenTelemetry's conventions call it."""


class ToolNamespaces:
    """A ToolServer over `core` and `gateway`; without a gateway the other namespaces are empty."""

    def __init__(
        self, *, core: ToolServer, gateway: ToolServer | None = None, clock: Clock, tracer: "Tracer | None" = None
    ) -> None:
        self.clock = clock
        self._tracer = tracer
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
        if self._tracer is None:
            return await server.call_tool(name, params, context)
        return await self._traced(self._tracer, server, name, params, context)

    async def _traced(
        self, tracer: "Tracer", server: ToolServer, name: str, params: JsonObject, context: ToolContext
    ) -> JsonObject:
        """A caller may ask for any name: only one that a tool has is told."""
        facts = {"uhlp.app_id": context.app_id, "uhlp.component_id": context.component_id}
        with tracer.span("tool", context.place, facts) as span:
            try:
                result = await server.call_tool(name, params, replace(context, trace=span.trace))
            except UhlpError as error:
                if server is self._servers["core"] and not isinstance(error, ToolNotFound):
                    span.set(TOOL_NAME, name)
                raise
            span.set(TOOL_NAME, name)
            return result
