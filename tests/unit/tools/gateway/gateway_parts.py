"""A gateway over servers that a definition would name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.definition_secrets import for_every_application
from tests.unit.tools.gateway.odd_server import OddServer
from uhlp.access.address_guard import Resolve, ask_system
from uhlp.clock import Clock, FakeClock
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition, LlmConfig
from uhlp.sandbox.driver import Driver
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.tools import ToolContext
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.mcp_gateway import McpGateway
from uhlp.tracing import TraceContext

EVERY = (
    "echo", "headers", "fail", "huge", "enormous", "enormous-stream", "bomb", "hang", "garbage", "page", "no-result",
    "odd-content", "nan", "deep", "die", "end-stream", "server-error", "refuse", "many-blocks", "many-blocks-streamed",
)  # fmt: skip
"""The tools of OddServer."""

SECRETS = {"CRM_TOKEN": "hush-hush-42", "UHLP_ADMIN_TOKEN": "never", "MODEL_KEY": "never"}


class Applications:
    """The definitions in service."""

    def __init__(self, **servers: dict[str, Any]) -> None:
        self.in_service: dict[str, AppDefinition] = {}
        self.set("shop", **servers)

    def set(self, app_id: str, **servers: dict[str, Any]) -> None:
        self.in_service[app_id] = AppDefinition.model_validate({"appId": app_id, "mcpServers": servers})

    def servers_of(self, app_id: str) -> Any:
        return self.in_service[app_id].mcp_servers if app_id in self.in_service else {}


@asynccontextmanager
async def gateway_of(
    applications: Applications,
    *,
    clock: Any = None,
    meter: Any = None,
    driver: Driver | None = None,
    resolve: Resolve = ask_system,
    **settings: Any,
) -> AsyncIterator[McpGateway]:
    gateway = McpGateway(
        applications=lambda: applications.in_service,
        servers_of=applications.servers_of,
        settings=McpSettings.model_validate({"allow_hosts": ["127.0.0.1"], **settings}),
        read_secret=SECRETS.get,
        open_command=(driver or FakeDriver()).open_command,
        clock=clock or FakeClock(),
        meter=meter or NullMeter(),
        resolve=resolve,
        secrets=for_every_application(SECRETS, own=("MODEL_KEY",)),
    )
    try:
        yield gateway
    finally:
        await gateway.aclose()


def context(*allowed: str, clock: Clock | None = None, timeout_s: float = 10.0, **changed: Any) -> ToolContext:
    given: dict[str, Any] = {
        "app_id": "shop", "component_id": "parse", "request_id": "r", "trace_id": "a" * 32,
        "deadline": (clock or FakeClock()).monotonic() + timeout_s,
        "allowed_tools": allowed or ("app.odd.*", "community.everything.*"), "llm": LlmConfig(), "configuration": {},
        "purpose": "serve", "trace": TraceContext("a" * 32),
    }  # fmt: skip
    return ToolContext(**{**given, **changed})


def named(server: OddServer, **headers: str) -> Applications:
    """A shop that names `server` as `odd`."""
    return Applications(odd={"url": server.url, "headers": headers})
