"""McpGateway: the MCP servers of all applications, behind the names of their tools."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

from uhlp.access.address_guard import Resolve, ask_system
from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.catalogue import traffic
from uhlp.clock import Clock
from uhlp.errors import InternalError, ToolNotFound, UhlpError
from uhlp.metering import Meter, SampledGauge
from uhlp.models.mcp_server import McpServerDefinition
from uhlp.secret_references import SecretReader
from uhlp.tools.allowed_tools import is_allowed
from uhlp.tools.context import ToolContext
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.server_spec import spec_of
from uhlp.tools.tool import JsonObject

if TYPE_CHECKING:
    from uhlp.tools.gateway.link_maker import LinkMaker
    from uhlp.tools.gateway.server_link import ServerLink
    from uhlp.tools.gateway.stdio_transport import OpenCommand

log = structlog.get_logger(__name__)

ServersOf = Callable[[str], Mapping[str, McpServerDefinition]]
"""The `mcpServers` of an application in service; none for one that is not."""


class McpGateway:
    """A ToolServer for `community.<server>.<tool>` and `app.<server>.<tool>`.

    Each application has its own session, credentials and process for each server: nothing of one reaches another.
    `applications` are those in service; `open_command` starts a program in a sandbox; `secrets` are those of
    definitions, `read_secret` reads those of the settings.
    """

    def __init__(
        self,
        *,
        applications: Callable[[], Iterable[str]],
        servers_of: ServersOf,
        settings: McpSettings,
        read_secret: SecretReader,
        secrets: DefinitionSecrets,
        open_command: "OpenCommand",
        clock: Clock,
        meter: Meter,
        resolve: Resolve = ask_system,
    ) -> None:
        self._applications = applications
        self._servers_of = servers_of
        self._settings = settings
        self._clock = clock
        self._maker: LinkMaker | None = None

        def maker() -> "LinkMaker":
            from uhlp.tools.gateway.link_maker import LinkMaker

            return LinkMaker(
                settings=settings,
                read_secret=read_secret,
                open_command=open_command,
                secrets=secrets,
                clock=clock,
                resolve=resolve,
            )

        self._make_maker = maker
        self._links: dict[tuple[str, str], ServerLink] = {}
        self._retired: list[ServerLink] = []
        self._calls = traffic.MCP_CALLS.on(meter)
        self._seconds = traffic.MCP_SECONDS.on(meter)
        self._up = SampledGauge(traffic.MCP_SERVER_UP.on(meter))

    async def list_tools(self, context: ToolContext) -> list[JsonObject]:
        """The tools that `context` may use, of all servers that answer in time."""
        left_s = context.deadline - self._clock.monotonic()
        links = [
            link
            for link in await self._links_of(context.app_id)
            if any(tool.startswith(link.spec.prefix) for tool in context.allowed_tools)
        ]
        lists = await asyncio.gather(*(link.tools(timeout_s=left_s) for link in links), return_exceptions=True)
        tools: list[JsonObject] = []
        for found in lists:
            if isinstance(found, list):
                tools += [tool for tool in found if is_allowed(tool["name"], context.allowed_tools)]
            elif not isinstance(found, UhlpError):
                raise found
        return tools

    async def call_tool(self, name: str, params: JsonObject, context: ToolContext) -> JsonObject:
        """{content: […], structuredContent?, isError: false}. Raises ToolNotFound, ToolFailed for a result that is an
        error, ToolResultInvalid, McpServerUnavailable, DeadlineExceeded; always a UhlpError."""
        namespace, _, rest = name.partition(".")
        server, _, tool = rest.partition(".")
        link = await self._link(context.app_id, server) if is_allowed(name, context.allowed_tools) else None
        if link is None or link.spec.namespace != namespace:
            raise ToolNotFound(f"There is no tool '{name[:100]}' for component '{context.component_id}'.")
        started, outcome = self._clock.monotonic(), "cancelled"
        try:
            result = await link.call(tool, params, context)
            outcome = "ok"
            return result
        except UhlpError as error:
            outcome = error.code.lower()
            raise
        except Exception as error:
            outcome = InternalError.code.lower()
            log.exception("mcp_call_failed", app_id=context.app_id, server=server, trace_id=context.trace_id)
            raise InternalError from error
        finally:
            self._calls.labels(context.app_id, server, outcome).inc()
            self._seconds.labels(context.app_id, server).observe(
                self._clock.monotonic() - started, trace_id=context.trace_id
            )

    async def ask(self, app_id: str) -> None:
        """Have every server of an application list its tools, so that `describe` knows; whoever is away stays away."""
        links = await self._links_of(app_id)
        asked = (link.tools(timeout_s=self._settings.list_timeout_s) for link in links)
        for found in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(found, BaseException) and not isinstance(found, UhlpError):
                raise found

    def describe(self, app_id: str) -> list[JsonObject]:
        """Every server of an application: {name, namespace, state, reason?, since?, tools}; opens nothing."""
        told: list[JsonObject] = []
        for name, definition in sorted(self._servers_of(app_id).items()):
            about: JsonObject = {"state": "idle", "tools": []}
            if spec_of(name, definition, self._settings.servers) is None:
                reason = f"this server's settings have no MCP server {definition.ref} (mcp.servers)"
                about |= {"state": "unreachable", "reason": reason}
            elif (link := self._known(app_id, name)) is not None:
                about = link.status()
            told.append({"name": name, "namespace": definition.namespace, **about})
        return told

    async def run_cycle(self) -> None:
        """Load what the first call would wait for, close what definitions no longer have, then give every server its
        turn."""
        if self._maker is None and any(self._servers_of(app_id) for app_id in self._applications()):
            await self._loaded()
        for app_id, name in list(self._links):
            self._known(app_id, name)
        retired, self._retired = self._retired, []
        await asyncio.gather(*(link.close() for link in retired))
        await asyncio.gather(*(link.run_cycle() for link in self._links.values()))
        for key in [key for key, link in self._links.items() if link.is_unused]:
            del self._links[key]
        states = {key: link.status()["state"] for key, link in self._links.items()}
        self._up.show({key: float(state == "connected") for key, state in states.items() if state != "idle"})

    async def aclose(self) -> None:
        """Close every session and end every program."""
        links, self._links, self._retired = [*self._links.values(), *self._retired], {}, []
        await asyncio.gather(*(link.close() for link in links))

    async def _links_of(self, app_id: str) -> "list[ServerLink]":
        links = [await self._link(app_id, name) for name in self._servers_of(app_id)]
        return [link for link in links if link is not None]

    async def _link(self, app_id: str, name: str) -> "ServerLink | None":
        """The link to a server as its definition is now; None for one that the application does not have."""
        known = self._known(app_id, name)
        definition = self._servers_of(app_id).get(name)
        spec = None if definition is None else spec_of(name, definition, self._settings.servers)
        if known is not None or spec is None:
            return known
        if self._maker is None:
            await self._loaded()
            return await self._link(app_id, name)
        link = self._links[app_id, name] = self._maker.link(app_id, spec)
        return link

    async def _loaded(self) -> None:
        """The SDK is there: half a second of a processor, which a server without MCP servers never spends."""
        if self._maker is None:
            maker = await asyncio.to_thread(self._make_maker)
            self._maker = self._maker or maker

    def _known(self, app_id: str, name: str) -> "ServerLink | None":
        """The link that is there, unless it is of an earlier definition: then it is retired."""
        known = self._links.get((app_id, name))
        if known is None:
            return None
        definition = self._servers_of(app_id).get(name)
        if definition is not None and known.spec == spec_of(name, definition, self._settings.servers):
            return known
        self._retired.append(self._links.pop((app_id, name)))
        return None
