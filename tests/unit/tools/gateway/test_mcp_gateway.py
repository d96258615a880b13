"""The gateway over HTTP: what a server says, how it fails, and what it costs whom."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from tests.unit.tools.gateway.gateway_parts import Applications, context, gateway_of
from tests.unit.tools.gateway.odd_server import OddServer, odd_server
from uhlp.clock import FakeClock
from uhlp.errors import (
    DeadlineExceeded,
    McpServerUnavailable,
    ToolFailed,
    ToolNotFound,
    ToolResultInvalid,
    UhlpError,
)

EVERY = (
    "echo", "headers", "fail", "huge", "enormous", "enormous-stream", "bomb", "hang", "garbage", "page", "no-result",
    "odd-content", "nan", "deep", "die", "end-stream", "server-error", "refuse",
)  # fmt: skip


@pytest.fixture
async def odd() -> AsyncIterator[OddServer]:
    async with odd_server(*EVERY) as server:
        yield server


def named(server: OddServer, **headers: str) -> Applications:
    return Applications(odd={"url": server.url, "headers": headers})


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
        await asyncio.wait_for(odd.called.wait(), 5)
        await gateway.call_tool("app.odd.echo", {"text": "beside"}, context())
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(hanging, 5)
        await gateway.call_tool("app.odd.echo", {"text": "after"}, context())
    assert odd.opened == 1


async def test_a_server_that_lets_calls_time_out_must_still_list_its_tools(odd: OddServer):
    clock = FakeClock()
    async with gateway_of(named(odd), clock=clock, list_timeout_s=0.3) as gateway:
        with pytest.raises(DeadlineExceeded):
            await gateway.call_tool("app.odd.hang", {}, context(timeout_s=0.2))
        await gateway.run_cycle()
        assert gateway.describe("shop")[0]["state"] == "connected"
        with pytest.raises(DeadlineExceeded):
            await gateway.call_tool("app.odd.hang", {}, context(timeout_s=0.2))
        odd.hangs_on = {"tools/list"}
        await gateway.run_cycle()
        (told,) = gateway.describe("shop")
        assert (told["state"], told["reason"]) == ("unreachable", "it did not list its tools in time")


async def test_a_server_that_is_away_costs_its_time_once(odd: OddServer):
    clock = FakeClock()
    odd.hangs_on = {"initialize", "server/discover"}
    async with gateway_of(named(odd), clock=clock, connect_timeout_s=0.3) as gateway:
        with pytest.raises(McpServerUnavailable, match="did not answer in time") as raised:
            await gateway.call_tool("app.odd.echo", {}, context())
        assert raised.value.retry_after_s == 1.0
        asked = len(odd.requests)
        for _ in range(5):
            with pytest.raises(McpServerUnavailable):
                await gateway.call_tool("app.odd.echo", {}, context())
            assert await gateway.list_tools(context()) == []
        assert len(odd.requests) == asked
        assert gateway.describe("shop")[0]["state"] == "unreachable"


async def test_a_server_that_comes_back_is_found_by_the_cycle(odd: OddServer):
    clock = FakeClock()
    await odd.stop()
    async with gateway_of(named(odd), clock=clock) as gateway:
        with pytest.raises(McpServerUnavailable, match="ConnectError"):
            await gateway.call_tool("app.odd.echo", {}, context())
        await gateway.run_cycle()
        clock.advance(1)
        await gateway.run_cycle()  # it is still away: the next pause is twice as long
        await odd.start()
        clock.advance(1)
        await gateway.run_cycle()
        assert gateway.describe("shop")[0]["state"] == "unreachable"
        clock.advance(1)
        await gateway.run_cycle()
        assert gateway.describe("shop")[0]["state"] == "connected"
        await gateway.call_tool("app.odd.echo", {"text": "back"}, context(clock=clock))


async def test_a_caller_who_is_too_early_starts_the_next_try_and_waits_for_nothing(odd: OddServer):
    clock = FakeClock()
    await odd.stop()
    async with gateway_of(named(odd), clock=clock) as gateway:
        with pytest.raises(McpServerUnavailable):
            await gateway.call_tool("app.odd.echo", {}, context())
        await odd.start()
        clock.advance(2)
        with pytest.raises(McpServerUnavailable):
            await gateway.call_tool("app.odd.echo", {}, context(clock=clock))
        await gateway.run_cycle()
        await gateway.call_tool("app.odd.echo", {}, context(clock=clock))
    assert odd.opened == 1


async def test_a_restarted_server_is_met_anew_by_the_call_that_finds_it(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        odd.restart()
        await gateway.call_tool("app.odd.echo", {"text": "again"}, context())
        assert odd.opened == 2
        await odd.stop()
        await odd.start()
        await gateway.call_tool("app.odd.echo", {"text": "again"}, context())
    assert odd.opened == 3


async def test_a_server_that_forgets_every_session_is_left_alone_for_a_while(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        odd.hangs_on = set()
        for _ in range(3):
            odd.refuses_with = 404
            with pytest.raises(McpServerUnavailable):
                await gateway.call_tool("app.odd.echo", {}, context())
        asked = len(odd.requests)
        with pytest.raises(McpServerUnavailable):
            await gateway.call_tool("app.odd.echo", {}, context())
        assert len(odd.requests) == asked


@pytest.mark.parametrize(
    ("status", "reason"),
    [(401, "credentials"), (403, "credentials"), (500, "HTTP 500"), (302, "HTTP 302"), (307, "307")],
)
async def test_a_server_that_refuses_everybody_is_away_with_the_reason(odd: OddServer, status: int, reason: str):
    odd.refuses_with = status
    async with gateway_of(named(odd, Authorization="secret:CRM_TOKEN")) as gateway:
        with pytest.raises(McpServerUnavailable, match=reason):
            await gateway.call_tool("app.odd.echo", {}, context())


async def test_changed_tools_are_listed_anew_when_the_server_says_so(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.list_tools(context())
        await asyncio.wait_for(odd.listening.wait(), 5)
        await odd.change_tools("echo", "newest")
        ends = time.monotonic() + 5
        while (names := [tool["name"] for tool in await gateway.list_tools(context())]) != [
            "app.odd.echo",
            "app.odd.newest",
        ]:
            assert time.monotonic() < ends, names
            await asyncio.sleep(0)


async def test_a_list_that_is_old_is_asked_for_again(odd: OddServer):
    clock = FakeClock()
    async with gateway_of(named(odd), clock=clock) as gateway:
        await gateway.list_tools(context())
        odd.tools = ["echo"]
        assert len(await gateway.list_tools(context())) == len(EVERY)
        clock.advance(301)
        assert len(await gateway.list_tools(context(clock=clock))) == 1


async def test_a_tool_that_is_new_is_found_by_the_call_for_it(odd: OddServer):
    odd.tools = ["headers"]
    clock = FakeClock()
    async with gateway_of(named(odd), clock=clock) as gateway:
        await gateway.call_tool("app.odd.headers", {}, context())
        odd.tools = list(EVERY)
        clock.advance(1)
        await gateway.call_tool("app.odd.echo", {}, context(clock=clock))


async def test_odd_names_are_not_listed_and_a_list_has_an_end(odd: OddServer):
    odd.tools = ["echo", "a b", "x" * 200, "*", "", "tool\n", *(f"t{n}" for n in range(50))]
    async with gateway_of(named(odd), max_tools=10) as gateway:
        names = [tool["name"] for tool in await gateway.list_tools(context())]
    assert names == ["app.odd.echo", *(f"app.odd.t{n}" for n in range(4))]


async def test_a_session_that_nobody_uses_is_closed(odd: OddServer):
    clock = FakeClock()
    async with gateway_of(named(odd), clock=clock) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        clock.advance(301)
        await gateway.run_cycle()
        assert gateway.describe("shop")[0]["state"] == "idle"
        await gateway.call_tool("app.odd.echo", {}, context(clock=clock))
    assert odd.opened == 2


async def test_a_changed_definition_closes_the_session_and_the_next_call_opens_its_own(odd: OddServer):
    applications = named(odd)
    async with gateway_of(applications) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        applications.set("shop", odd={"url": odd.url, "headers": {"X-Tenant": "two"}})
        await gateway.run_cycle()
        assert gateway.describe("shop")[0]["state"] == "idle"
        await gateway.call_tool("app.odd.echo", {}, context())
        assert odd.requests[-1][1]["X-Tenant"] == "two"
        applications.in_service.clear()
        await gateway.run_cycle()
        with pytest.raises(ToolNotFound):
            await gateway.call_tool("app.odd.echo", {}, context())


async def test_applications_share_no_session(odd: OddServer):
    applications = named(odd)
    applications.set("desk", odd={"url": odd.url})
    async with gateway_of(applications) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())
        await gateway.call_tool("app.odd.echo", {}, context(app_id="desk"))
    sessions = {headers["mcp-session-id"] for method, headers in odd.requests if method == "tools/call"}
    assert len(sessions) == 2


@pytest.mark.parametrize(
    ("url", "settings", "reason"),
    [
        ("http://127.0.0.1:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://localhost:1/mcp", {"allow_hosts": []}, "no public address"),
        ("http://10.1.2.3/mcp", {"allow_hosts": ["127.0.0.1"]}, "no public address"),
        ("http://[::1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[::ffff:127.0.0.1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://[64:ff9b::7f00:1]/mcp", {"allow_hosts": []}, "no public address"),
        ("http://169.254.169.254/latest", {"allow_hosts": ["*"]}, "nobody may name"),
        ("http://[fd00:ec2::254]/latest", {"allow_hosts": ["*"]}, "nobody may name"),
        ("http://0.0.0.0:1/mcp", {"allow_hosts": ["*"]}, "nobody may name"),
        ("http://127.0.0.1:1/mcp", {"allow_hosts": ["127.0.0.1:2"]}, "no public address"),
        ("http://127.0.0.1:1/mcp", {"deny_hosts": ["127.0.0.0/8"]}, "mcp.deny_hosts"),
        ("http://LOCALHOST:1/mcp", {"allow_hosts": ["*"], "deny_hosts": ["localhost"]}, "mcp.deny_hosts"),
        ("http://192.0.2.1/mcp", {"public_hosts": False}, "mcp.allow_hosts"),
        ("http://nowhere.invalid/mcp", {}, "has no address"),
    ],
)
async def test_a_definition_reaches_no_address_that_the_operator_did_not_allow(url: str, settings: dict, reason: str):
    async with gateway_of(Applications(odd={"url": url}), **settings) as gateway:
        with pytest.raises(McpServerUnavailable, match=reason):
            await gateway.call_tool("app.odd.echo", {}, context())


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "127.0.0.1:{port}", "127.*"])
async def test_an_allowed_host_is_reached(odd: OddServer, entry: str):
    async with gateway_of(named(odd), allow_hosts=[entry.format(port=odd.port)]) as gateway:
        await gateway.call_tool("app.odd.echo", {}, context())


async def test_a_server_of_the_settings_is_reached_by_its_reference_wherever_it_is(odd: OddServer):
    shared = {"odd-one": {"url": odd.url, "headers": {"X-Key": "secret:MODEL_KEY"}}}
    applications = Applications(odd={"ref": "odd-one"}, gone={"ref": "gone"})
    async with gateway_of(applications, servers=shared, allow_hosts=[]) as gateway:
        allowed = context("community.odd.*", "community.gone.*")
        await gateway.call_tool("community.odd.echo", {}, allowed)
        assert odd.requests[-1][1]["X-Key"] == "never"
        with pytest.raises(ToolNotFound):
            await gateway.call_tool("community.gone.echo", {}, allowed)
        assert [(one["name"], one["state"]) for one in gateway.describe("shop")] == [
            ("gone", "unreachable"),
            ("odd", "connected"),
        ]


async def test_a_caller_who_leaves_takes_nothing_along(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.list_tools(context())
        leaving = asyncio.create_task(gateway.call_tool("app.odd.hang", {}, context()))
        await asyncio.wait_for(odd.called.wait(), 5)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await gateway.call_tool("app.odd.echo", {}, context())
    assert odd.opened == 1


async def test_a_caller_who_leaves_during_the_connection_leaves_it_to_the_others(odd: OddServer):
    odd.hangs_on = {"server/discover"}
    async with gateway_of(named(odd), connect_timeout_s=0.5) as gateway:
        first = asyncio.create_task(gateway.call_tool("app.odd.echo", {}, context()))
        second = asyncio.create_task(gateway.call_tool("app.odd.echo", {}, context()))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(McpServerUnavailable, match="in time"):
            await second
        with pytest.raises(asyncio.CancelledError):
            await first
