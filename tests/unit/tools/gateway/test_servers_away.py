"""Servers that are away, come back or forget: what it costs whom, and when there is a session again."""

import asyncio

import pytest

from tests.unit.tools.gateway.gateway_parts import context, gateway_of, named
from tests.unit.tools.gateway.odd_server import OddServer
from uhlp.clock import FakeClock
from uhlp.errors import (
    DeadlineExceeded,
    McpServerUnavailable,
    ToolNotFound,
)


async def test_a_server_that_lets_calls_time_out_must_still_list_its_tools(odd: OddServer):
    clock = FakeClock()
    async with gateway_of(named(odd), clock=clock, list_timeout_s=1.0) as gateway:
        assert await gateway.list_tools(context())  # the session is there before time is short
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


async def test_who_finds_a_server_away_is_told_when_to_ask_again(odd: OddServer):
    clock = FakeClock()
    await odd.stop()
    async with gateway_of(named(odd), clock=clock, backoff_initial_s=8) as gateway:
        with pytest.raises(McpServerUnavailable):
            await gateway.call_tool("app.odd.echo", {}, context())
        clock.advance(3)
        with pytest.raises(McpServerUnavailable) as away:
            await gateway.call_tool("app.odd.echo", {}, context(clock=clock))
    assert away.value.details == {"server": "app.odd", "retryAfterS": 5.0}
    assert away.value.retry_after_s == 5.0


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


async def test_a_call_of_an_earlier_definition_fails_with_it_and_opens_nothing(odd: OddServer):
    applications = named(odd)
    async with gateway_of(applications) as gateway:
        calling = asyncio.create_task(gateway.call_tool("app.odd.hang", {}, context()))
        await asyncio.wait_for(odd.called.wait(), 30)
        applications.set("shop", odd={"url": odd.url, "headers": {"X-Tenant": "two"}})
        await gateway.run_cycle()
        with pytest.raises(McpServerUnavailable):
            await asyncio.wait_for(calling, 30)
        assert odd.opened == 1
        await gateway.call_tool("app.odd.echo", {}, context())
    assert odd.opened == 2


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
