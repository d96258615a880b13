"""Who may call at /mcp: an execution, by the token of its call, and an administrator who names an application."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import structlog
from starlette.types import Scope

from uhlp.errors import BadInput, Unauthorized
from uhlp.tools.context import ADMIN, ToolContext
from uhlp.tools.mcp_caller import McpCaller, result_of_tool
from uhlp.tools.tool import JsonObject
from uhlp.tracing import TraceContext
from uhlp.web.admin.role_table import check_role
from uhlp.web.admin_gate import AdminGate
from uhlp.web.app_keys import key_of
from uhlp.web.sandbox_gate import SandboxGate

if TYPE_CHECKING:
    from uhlp.tools.tool_namespaces import ToolNamespaces
    from uhlp.tools.tool_sessions import RunningSession
    from uhlp.web.services import Services

MCP = "/mcp"
INSTRUCTIONS = "Tools of one UHLP application: its state, configuration, metrics and models."
ADMIN_CALL_S = 60.0
"""What a call of an administrator may take; an execution's has the time of its request."""

log = structlog.get_logger(__name__)


class ExecutionCaller:
    """An execution in an image of users' own: its session answers, as it does over the channel of ours."""

    def __init__(self, running: "RunningSession") -> None:
        self._running = running
        self.trace_id = running.session.context.trace_id

    async def list_tools(self) -> list[JsonObject]:
        return await self._running.list_tools()

    async def call_tool(self, name: str, arguments: JsonObject) -> JsonObject:
        return result_of_tool(name, await self._running.call_tool(name, arguments))


class AdministratorCaller:
    """An administrator: every tool that a component of the application might be given."""

    def __init__(self, tools: "ToolNamespaces", context: ToolContext, *, reading: Collection[str]) -> None:
        self._tools = tools
        self._context = context
        self._reading = reading
        self.trace_id = context.trace_id

    async def list_tools(self) -> list[JsonObject]:
        return await self._tools.list_tools(self._context)

    async def call_tool(self, name: str, arguments: JsonObject) -> JsonObject:
        if name not in self._reading:
            log.info(
                "admin_change",
                actor=self._context.actor,
                app_id=self._context.app_id,
                tool=name[:100],
                trace_id=self.trace_id,
            )
        return result_of_tool(name, await self._tools.call_tool(name, arguments, self._context))


class CoreAccess:
    """Recognises callers of /mcp."""

    def __init__(self, services: "Services", *, gate: AdminGate, sandboxes: SandboxGate) -> None:
        self._services = services
        self._gate = gate
        self._sandboxes = sandboxes

    async def caller(
        self, scope: Scope, headers: Mapping[bytes, bytes], *, client: str, trace: TraceContext
    ) -> McpCaller:
        """Who calls; raises Unauthorized, PermissionDenied, TooManyRequests, BadInput, AppNotFound."""
        raw = key_of(headers)
        if raw is None:
            raise Unauthorized("Send Authorization: Bearer with a call's mcpToken, or an admin token and X-App-Id.")
        token = raw.encode("latin-1")
        if self._sandboxes.is_for(token):
            identity = self._sandboxes.check(token, client=client)
            running = self._services.tool_sessions.find(identity.request_id)
            if running is None:
                raise Unauthorized("The execution that this sandbox token was made for is over.")
            return ExecutionCaller(running)
        administrator = self._gate.check(token, client=client)
        check_role(administrator, "POST", MCP)
        app_id = headers.get(b"x-app-id", b"").decode("latin-1")
        if not app_id:
            raise BadInput("An administrator says with X-App-Id which application's tools are meant.")
        context = self._context(app_id, administrator.name, trace)
        return AdministratorCaller(self._services.tools, context, reading=self._services.reading_tools)

    def _context(self, app_id: str, actor: str, trace: TraceContext) -> ToolContext:
        services = self._services
        definition = services.registry.snapshot(app_id).definition
        servers = (f"{space}.{name}.*" for name in definition.mcp_servers for space in ("community", "app"))
        return ToolContext(
            app_id=app_id,
            component_id="",
            request_id=trace.trace_id,
            trace_id=trace.trace_id,
            deadline=services.clock.monotonic() + ADMIN_CALL_S,
            allowed_tools=(*services.core_tools, *servers),
            llm=definition.llm,
            configuration=services.registry.app_configuration(app_id),
            purpose=ADMIN,
            trace=trace,
            actor=actor,
        )
