"""Lists of tools: kept, made new, and never larger than they may be."""

import asyncio
import time

from tests.unit.tools.gateway.gateway_parts import EVERY, context, gateway_of, named
from tests.unit.tools.gateway.odd_server import OddServer
from uhlp.clock import FakeClock


async def test_changed_tools_are_listed_anew_when_the_server_says_so(odd: OddServer):
    async with gateway_of(named(odd)) as gateway:
        await gateway.list_tools(context())
        await asyncio.wait_for(odd.listening.wait(), 30)
        await odd.change_tools("echo", "newest")
        ends = time.monotonic() + 5
        while (names := [tool["name"] for tool in await gateway.list_tools(context())]) != [
            "app.odd.echo",
            "app.odd.newest",
        ]:
            assert time.monotonic() < ends, names
            await asyncio.sleep(0)


async def test_a_change_that_whoever_asked_first_had_no_time_to_hear_of_is_heard_by_the_next(odd: OddServer):
    def asked() -> int:
        return [method for method, _ in odd.requests].count("tools/list")

    async with gateway_of(named(odd)) as gateway:
        await gateway.list_tools(context())
        await asyncio.wait_for(odd.listening.wait(), 30)
        before = asked()
        odd.hangs_on.add("tools/list")
        await odd.change_tools("newest")
        async with asyncio.timeout(10):
            while asked() == before:
                await gateway.list_tools(context(timeout_s=0.1))
        odd.hangs_on.clear()
        assert [tool["name"] for tool in await gateway.list_tools(context())] == ["app.odd.newest"]


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


async def test_a_list_of_many_large_tools_ends_where_it_takes_too_much(odd: OddServer):
    odd.description = "x" * 2_000
    odd.tools = [f"t{n}" for n in range(50)]
    async with gateway_of(named(odd), max_result_bytes=4_000) as gateway:
        listed = await gateway.list_tools(context())
    assert 5 <= len(listed) <= 8
