"""The gateway over HTTP: what goes out with a call, and what comes of an answer."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.unit.tools.gateway.gateway_parts import EVERY, context, gateway_of, named
from tests.unit.tools.gateway.odd_server import OddServer
from uhlp.errors import (
    DeadlineExceeded,
    McpServerUnavailable,
    ToolFailed,
    ToolNotFound,
    ToolResultInvalid,
    UhlpError,
)

A_CYCLE = """
import asyncio, sys
from tests.definition_secrets import for_every_application
from uhlp.clock import FakeClock
from uhlp.metering import NullMeter
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.tools.gateway.config import McpSettings
from uhlp.tools.gateway.mcp_gateway import McpGateway

servers = {servers}
gateway = McpGateway(
    applications=lambda: servers, servers_of=servers.get, settings=McpSettings(), read_secret={{}}.get,
    secrets=for_every_application({{}}), open_command=FakeDriver().open_command, clock=FakeClock(), meter=NullMeter(),
)
asyncio.run(gateway.run_cycle())
print("mcp" in sys.modules)
"""


@pytest.mark.parametrize(("servers", "is_loaded"), [({}, False), ({"shop": {}}, False), ({"shop": {"odd": 1}}, True)])
def test_the_sdk_is_loaded_before_the_first_call_once_an_application_has_servers(servers: object, is_loaded: bool):
    check = [sys.executable, "-c", A_CYCLE.format(servers=servers)]
    done = subprocess.run(check, cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(is_loaded)


async def test_a_call_is_answered_and_listed_under_its_full_name(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        answer = await gateway.call_tool("app.odd.echo", {"text": "hi"}, context())
        assert answer == {"content": [{"type": "text", "text": "hi"}], "isError": False}
        listed = await gateway.list_tools(context("app.odd.echo"))
        assert [(tool["name"], tool["description"]) for tool in listed] == [("app.odd.echo", "odd")]
        assert listed[0]["inputSchema"]["type"] == "object"
        assert len(await gateway.list_tools(context())) == len(EVERY)
    assert odd.opened == 1


@pytest.mark.parametrize("name", ["app.odd.nothing", "community.odd.echo", "app.other.echo", "app.odd", "app.odd."])
async def test_what_is_no_tool_is_not_found(odd: OddServer, name: str):
    async with gateway_of(named(odd)) as gateway:
        with pytest.raises(ToolNotFound):
            await gateway.call_tool(name, {}, context("app.odd.*", "community.odd.*", "app.other.*"))
    assert odd.calls == []


async def test_a_tool_that_the_component_was_not_given_is_not_called(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        with pytest.raises(ToolNotFound):
            await gateway.call_tool("app.odd.echo", {}, context("app.odd.headers"))
    assert odd.requests == []


async def test_credentials_and_trace_go_out_and_nothing_else_of_the_caller(odd: OddServer):
    async with gateway_of(named(odd, Authorization="Bearer secret:CRM_TOKEN")) as gateway:
        await gateway.call_tool("app.odd.echo", {"text": "hi"}, context())
        (sent,) = [headers for method, headers in odd.requests if method == "tools/call"]
    assert sent["Authorization"] == "Bearer hush-hush-42"
    assert sent["traceparent"].split("-")[1] == "a" * 32
    meta = [body["params"]["_meta"] for body in odd.bodies if body.get("method") == "tools/call"]
    assert meta[0]["traceparent"] == sent["traceparent"]


async def test_a_call_that_may_be_made_twice_says_so_by_its_key(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.call_tool("app.odd.echo", {"text": "hi"}, context(idempotency_key="run:step"))
        await gateway.call_tool("app.odd.echo", {"text": "hi"}, context())
    keyed, plain = [body["params"]["_meta"] for body in odd.bodies if body.get("method") == "tools/call"]
    assert keyed["uhlp/idempotencyKey"] == "run:step"
    assert "uhlp/idempotencyKey" not in plain


async def test_what_a_server_says_of_its_credentials_is_masked(odd: OddServer):
    async with gateway_of(named(odd, Authorization="Bearer secret:CRM_TOKEN")) as gateway:
        answer = await gateway.call_tool("app.odd.headers", {}, context())
    assert "hush-hush-42" not in json.dumps(answer)
    assert "Bearer **********" in answer["content"][0]["text"]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("secret:NOWHERE", "there is no secret NOWHERE"),
        ("secret:UHLP_ADMIN_TOKEN", "this server's own"),
        ("Bearer secret:MODEL_KEY", "this server's own"),
    ],
)
async def test_a_secret_that_may_not_go_out_keeps_the_server_away(odd: OddServer, value: str, reason: str):
    async with gateway_of(named(odd, Authorization=value)) as gateway:
        with pytest.raises(McpServerUnavailable, match=reason) as raised:
            await gateway.call_tool("app.odd.echo", {}, context())
    assert odd.requests == []
    assert "never" not in str(raised.value.envelope())


@pytest.mark.parametrize(
    ("tool", "error", "words"),
    [
        ("fail", ToolFailed, "no such customer"),
        ("refuse", ToolFailed, "text is missing"),
        ("huge", ToolResultInvalid, "is the limit"),
        ("enormous", ToolResultInvalid, "mcp.max_message_bytes"),
        ("many-blocks", ToolResultInvalid, "entries of content"),
        ("many-blocks-streamed", ToolResultInvalid, "entries of content"),
        ("bomb", ToolResultInvalid, "compresses"),
        ("garbage", ToolResultInvalid, "no JSON-RPC"),
        ("page", ToolFailed, "content type"),
        ("no-result", ToolResultInvalid, "no result"),
        ("odd-content", ToolResultInvalid, "no result"),
        ("nan", ToolResultInvalid, "no JSON"),
        ("deep", ToolResultInvalid, "deeper"),
        ("die", McpServerUnavailable, "may have run"),
        ("end-stream", McpServerUnavailable, "may have run"),
        ("enormous-stream", McpServerUnavailable, "may have run"),
        ("server-error", McpServerUnavailable, "HTTP 503"),
    ],
)
async def test_odd_answers_become_typed_errors_and_the_next_call_is_answered(
    odd: OddServer, tool: str, error: type[UhlpError], words: str
):
    async with gateway_of(named(odd)) as gateway:
        with capture_logs() as logs, pytest.raises(error, match=words) as raised:
            await gateway.call_tool(f"app.odd.{tool}", {}, context())
        assert type(raised.value) is error
        assert odd.calls == [tool]
        assert not [entry for entry in logs if entry["log_level"] == "error"]
        assert (await gateway.call_tool("app.odd.echo", {"text": "still"}, context()))["isError"] is False


async def test_a_call_ends_with_its_deadline_and_holds_up_nobody(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.list_tools(context())
        hanging = asyncio.create_task(gateway.call_tool("app.odd.hang", {}, context(timeout_s=0.3)))
        await asyncio.wait_for(odd.called.wait(), 30)
        await gateway.call_tool("app.odd.echo", {"text": "beside"}, context())
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(hanging, 30)
        await gateway.call_tool("app.odd.echo", {"text": "after"}, context())
    assert odd.opened == 1


async def test_applications_share_no_session(odd: OddServer):
    applications = named(odd)
    applications.set("desk", odd={"url": odd.url})
    async with gateway_of(applications) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        await gateway.call_tool("app.odd.echo", {}, context(app_id="desk"))
    sessions = {headers["mcp-session-id"] for method, headers in odd.requests if method == "tools/call"}
    assert len(sessions) == 2


async def test_a_caller_who_leaves_takes_nothing_along(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.list_tools(context())
        leaving = asyncio.create_task(gateway.call_tool("app.odd.hang", {}, context()))
        await asyncio.wait_for(odd.called.wait(), 30)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await gateway.call_tool("app.odd.echo", {}, context())
    assert odd.opened == 1
