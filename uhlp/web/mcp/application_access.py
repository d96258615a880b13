"""Who may call an application as an MCP server, `/apps/{appId}/-/mcp`: those who may call its routes, component by
component (contracts §7)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.types import Scope

from uhlp.catalogue import traffic
from uhlp.errors import RouteNotFound, ToolNotFound, UhlpError
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.tools.mcp_caller import McpCaller
from uhlp.tools.tool import JsonObject
from uhlp.tracing import TraceContext
from uhlp.web.app_keys import AppKeys
from uhlp.web.ingress import session_id_of
from uhlp.web.mcp.component_tools import described, result_of
from uhlp.web.route_access import Admission, RouteAccess

if TYPE_CHECKING:
    from uhlp.metering import Counter
    from uhlp.routing.component_requests import ComponentRequests
    from uhlp.web.services import Services

INSTRUCTIONS = "Each tool is a component of one application."


def application_of(raw_path: bytes) -> str | None:
    """The application, where a path is that of its MCP server; None for all other paths."""
    parts = raw_path.decode("latin-1").split("/")
    return parts[2] if len(parts) == 5 and parts[:2] == ["", "apps"] and parts[3:] == ["-", "mcp"] else None


class ComponentCaller:
    """Somebody who may invoke some components. A call is a request like one to a route: it is routed, sampled, counted
    and deoptimised alike."""

    def __init__(
        self,
        app: AppSnapshot,
        admission: Admission,
        *,
        requests: "ComponentRequests",
        refusals: "Counter",
        trace: TraceContext,
        session_id: str | None,
    ) -> None:
        self._app = app
        self._admission = admission
        self._requests = requests
        self._refusals = refusals
        self._trace = trace
        self._session_id = session_id
        self.trace_id = trace.trace_id

    async def list_tools(self) -> list[JsonObject]:
        return [described(self._app, one) for one in self._app.components.values() if self._is_offered(one)]

    async def call_tool(self, name: str, arguments: JsonObject) -> JsonObject:
        try:
            return await self._call(name, arguments)
        except UhlpError as error:
            self._refusals.labels(error.code).inc()
            raise

    async def _call(self, name: str, arguments: JsonObject) -> JsonObject:
        component = self._app.components.get(name)
        if component is None or not self._is_offered(component):
            raise ToolNotFound(f"There is no tool '{name[:100]}' for this caller.")
        answer = await self._requests.ask(
            self._app.app_id,
            name,
            arguments,
            source="http",
            source_details=_DETAILS,
            trace=self._trace,
            session_id=self._session_id,
            user_info=self._admission.user_info,
        )
        return result_of(answer, component, self.trace_id)

    def _is_offered(self, component: ComponentSnapshot) -> bool:
        """A public application shows anybody what has a route: the rest are steps and parts of its own."""
        if self._admission.is_anybody and component.definition.route_matcher is None:
            return False
        return self._admission.may_invoke(component.definition.component_id)


class ApplicationAccess:
    """Recognises callers by application keys and users, as routes do."""

    def __init__(self, services: "Services", *, keys: AppKeys) -> None:
        self._registry = services.registry
        self._requests = services.requests
        self._access = RouteAccess(keys=keys, users=services.users)
        self._refusals = traffic.REFUSALS.on(services.metrics)

    async def caller(
        self, scope: Scope, headers: Mapping[bytes, bytes], *, client: str, trace: TraceContext
    ) -> McpCaller:
        """Who calls; raises AppNotFound, Unauthorized, PermissionDenied, TooManyRequests."""
        app_id = application_of(scope["raw_path"])
        if app_id is None:
            raise RouteNotFound
        app = self._registry.snapshot(app_id)
        return ComponentCaller(
            app,
            await self._access.recognise(headers, app=app, client=client),
            requests=self._requests,
            refusals=self._refusals,
            trace=trace,
            session_id=session_id_of(headers),
        )


_DETAILS: dict[str, Any] = {"method": "POST", "path": "/-/mcp", "queryParams": {}, "headers": {}}
"""What a sandbox is told of the request beside its input."""
