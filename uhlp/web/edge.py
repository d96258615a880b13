"""The HTTP edge: which lane a request takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uhlp.errors import BadInput, UhlpError
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.admin.lane import SECURITY_HEADERS, AdminLane
from uhlp.web.admin_gate import AdminGate
from uhlp.web.answers import WALLS, error_response
from uhlp.web.app_keys import AppKeys
from uhlp.web.application_hosts import ApplicationHosts
from uhlp.web.built_when_needed import BuiltWhenNeeded
from uhlp.web.documentation.lane import DocumentationLane, is_documentation
from uhlp.web.executions_lane import ExecutionsLane, execution_of
from uhlp.web.ingress import PREFIX, Ingress
from uhlp.web.mcp import application_access, core_access
from uhlp.web.mcp.application_access import ApplicationAccess, application_of
from uhlp.web.mcp.core_access import MCP, CoreAccess
from uhlp.web.mcp.lane import McpLane
from uhlp.web.mcp.server_names import ServerNames
from uhlp.web.metrics_lane import MetricsLane
from uhlp.web.otlp_lane import OTLP_METRICS, OtlpLane
from uhlp.web.panel.lane import PANEL, PanelLane
from uhlp.web.record_access import METRICS, RECORD, RecordAccess
from uhlp.web.sandbox_gate import SandboxGate
from uhlp.web.services import Services
from uhlp.web.sources_lane import SourcesLane, source_of

_CLOSED: Message = {"type": "websocket.close", "code": 1008}


class Edge:
    """ASGI application: application traffic, metrics, panel and pages to their lanes, all else to the admin lane."""

    def __init__(
        self,
        *,
        hosts: ApplicationHosts | None,
        ingress: ASGIApp,
        sources: ASGIApp,
        executions: ASGIApp,
        metrics: ASGIApp,
        otlp: ASGIApp,
        mcp: ASGIApp,
        application_mcp: ASGIApp,
        admin: ASGIApp,
        panel: ASGIApp,
        documentation: ASGIApp,
    ) -> None:
        self._hosts = hosts
        self._ingress = ingress
        self._sources = sources
        self._executions = executions
        self._metrics = metrics
        self._otlp = otlp
        self._mcp = mcp
        self._application_mcp = application_mcp
        self._admin = admin
        self._panel = panel
        self._documentation = documentation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (fault := _ambiguity(scope)):
            await _refuse(BadInput(fault), send)
            return
        if self._hosts is not None:
            try:
                scope = self._hosts.routed(scope)
            except UhlpError as error:
                await (_refuse(error, send) if scope["type"] == "http" else send(_CLOSED))
                return
        path: str = scope["path"]
        if scope["type"] == "http" and (lane := self._lane_beside_routes(scope["raw_path"])) is not None:
            await lane(scope, receive, send)
        elif scope["type"] == "http" and path.startswith(PREFIX):
            await self._ingress(scope, receive, send)
        elif scope["type"] == "http" and path in (RECORD, METRICS):
            await self._metrics(scope, receive, send)
        elif scope["type"] == "http" and path == OTLP_METRICS:
            await self._otlp(scope, receive, send)
        elif path == PANEL or path.startswith(PANEL + "/"):
            await self._panel(scope, receive, send)
        elif scope["type"] == "http" and path == MCP:
            await self._mcp(scope, receive, send)
        elif scope["type"] == "http" and is_documentation(path):
            await self._documentation(scope, receive, send)
        elif scope["type"] == "http":
            await self._admin(scope, receive, send)
        else:
            await send(_CLOSED)

    def _lane_beside_routes(self, raw_path: bytes) -> ASGIApp | None:
        """The lane of what an application has below `/-/` beside its components' routes."""
        if b"/-/" not in raw_path:
            return None
        if source_of(raw_path) is not None:
            return self._sources
        if application_of(raw_path) is not None:
            return self._application_mcp
        return self._executions if execution_of(raw_path) is not None else None


async def _refuse(error: UhlpError, send: Send) -> None:
    status, headers, body = error_response(error, trace_id_of(None))
    await send({"type": "http.response.start", "status": status, "headers": [*WALLS, *headers]})
    await send({"type": "http.response.body", "body": body})


def _ambiguity(scope: Scope) -> str | None:
    """Why a request could be read in two ways: by a proxy before this server in one, here in the other."""
    names = [name for name, _ in scope["headers"]]
    if names.count(b"authorization") > 1 or names.count(b"x-api-key") > 1:
        return "Send one credential: a header that carries it comes twice."
    hosts = names.count(b"host")
    if hosts > 1 or (hosts == 0 and scope.get("http_version") == "1.1"):
        return f"HTTP/1.1 asks for one Host header; this request has {hosts}."
    return None


@asynccontextmanager
async def open_edge(services: Services) -> AsyncIterator[Edge]:
    """The edge over `services`; leaving it ends what the panel started."""
    gate = AdminGate(
        services.tokens,
        clock=services.clock,
        failures_per_minute=services.settings.failed_logins_per_minute,
    )

    keys = AppKeys.of(services)
    sandboxes = SandboxGate(
        services.sandbox_tokens,
        clock=services.clock,
        failures_per_minute=services.settings.failed_logins_per_minute,
    )
    access = RecordAccess(
        gate=gate,
        keys=keys,
        sandboxes=sandboxes,
        registry=services.registry,
        is_open=services.deployment_mode != "production",
        reading_is_open=services.metrics_are_open,
    )

    async def admin() -> ASGIApp:
        application = await asyncio.to_thread(import_module, "uhlp.web.admin.application")
        built: ASGIApp = await asyncio.to_thread(application.build_admin, services)
        return built

    async def endpoint(name: str, instructions: str) -> ASGIApp:
        sdk = await asyncio.to_thread(import_module, "uhlp.tools.mcp_endpoint")
        opened: ASGIApp = await stack.enter_async_context(sdk.open_endpoint(name=name, instructions=instructions))
        return opened

    names = ServerNames.of(services)
    async with AsyncExitStack() as stack:
        yield Edge(
            hosts=None if services.base_domain is None else ApplicationHosts(services.base_domain),
            ingress=Ingress(services, keys=keys),
            sources=SourcesLane(services, keys=keys),
            executions=ExecutionsLane(services, keys=keys),
            metrics=MetricsLane(services, access=access),
            otlp=OtlpLane(services, access=access),
            mcp=McpLane(
                BuiltWhenNeeded(partial(endpoint, "uhlp", core_access.INSTRUCTIONS)),
                access=CoreAccess(services, gate=gate, sandboxes=sandboxes),
                names=names,
                settings=services.settings,
                own_headers=SECURITY_HEADERS,
            ),
            application_mcp=McpLane(
                BuiltWhenNeeded(partial(endpoint, "uhlp-application", application_access.INSTRUCTIONS)),
                access=ApplicationAccess(services, keys=keys),
                names=names,
                settings=services.settings,
                own_headers=WALLS,
            ),
            admin=AdminLane(BuiltWhenNeeded(admin), gate=gate, settings=services.settings),
            panel=PanelLane(services, gate=gate, stack=stack),
            documentation=DocumentationLane(),
        )
