"""What components may call, over the administration."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from tests.definition_secrets import for_every_application
from tests.unit.tools.gateway.odd_server import OddServer, odd_server
from uhlp.clock import FakeClock
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.mcp_gateway import McpGateway
from uhlp.web.services import Services
from web.stores import stored_services

AT = "/admin/v1/apps/shop/tools"


@pytest.fixture
async def odd() -> AsyncIterator[OddServer]:
    async with odd_server("echo", "fail") as server:
        yield server


@pytest.fixture
async def with_servers(tmp_path: Path, odd: OddServer) -> AsyncIterator[Services]:
    """A shop with a server that is there and one that is not."""
    services: list[Services] = []
    gateway = McpGateway(
        applications=lambda: services[0].registry.app_ids(),
        servers_of=lambda app_id: services[0].registry.snapshot(app_id).definition.mcp_servers,
        settings=McpSettings(allow_hosts=("127.0.0.1",)),
        read_secret={}.get,
        secrets=for_every_application({}),
        open_command=FakeDriver().open_command,
        clock=FakeClock(),
        meter=NullMeter(),
    )
    parts = {"mcp_servers": gateway, "core_tools": ("core.llm.generate", "core.metrics.record")}
    async with stored_services(tmp_path, **parts) as stored:
        services.append(stored)
        component = {
            "componentId": "find",
            "taskDetails": {"prompt_template": "p"},
            "tools": ["core.llm.generate", "app.odd.*", "app.gone.find"],
        }
        files = {
            "component_registry.yaml": json.dumps({"components": [component]}).encode(),
            "prompts/p.yaml": b"template: x\n",
        }
        servers = {"odd": {"url": odd.url}, "gone": {"url": "http://127.0.0.1:1/mcp"}}
        definition = AppDefinition.model_validate({"appId": "shop", "mcpServers": servers})
        await stored.registry.register_application(definition, files=files)
        yield stored
    await gateway.aclose()


async def test_servers_are_shown_as_they_are_and_asked_when_wished(
    with_servers: Services,
    client_of: Callable[[Services], Awaitable[httpx.AsyncClient]],
    admin: dict[str, str],
    odd: OddServer,
) -> None:
    client = await client_of(with_servers)
    told = (await client.get(AT, headers=admin)).json()
    assert [(one["name"], one["state"]) for one in told["servers"]] == [("gone", "idle"), ("odd", "idle")]
    assert odd.requests == []
    told = (await client.get(AT, params={"ask": True}, headers=admin)).json()
    gone, there = told["servers"]
    assert (gone["state"], gone["reason"]) == ("unreachable", "the connection failed (ConnectError)")
    assert gone["since"] > 0
    assert (there["namespace"], there["state"], there["tools"]) == ("app", "connected", ["echo", "fail"])
    assert told["components"] == [
        {
            "componentId": "find",
            "tools": [
                {"allowed": "core.llm.generate", "matches": ["core.llm.generate"]},
                {"allowed": "app.odd.*", "matches": ["app.odd.echo", "app.odd.fail"]},
                {"allowed": "app.gone.find", "matches": []},
            ],
        }
    ]


async def test_an_unknown_application_has_no_tools(with_servers: Services, client_of, admin: dict[str, str]) -> None:
    client = await client_of(with_servers)
    assert (await client.get("/admin/v1/apps/nobody/tools", headers=admin)).status_code == 404
    assert (await client.get(AT)).status_code == 401
