"""Slots: what one application may take, who is next, and that nothing is left of whoever leaves."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uhlp.clock import FakeClock
from uhlp.errors import TooManyRequests
from uhlp.jsonschemas import schema_file
from uhlp.metering import NullMeter
from uhlp.metrics import MetricCollector, MetricsConfig
from uhlp.routing.config import SlotSettings
from uhlp.routing.fair_slots import BEGUN_A_TURN, FairSlots


def slots_of(executions: int = 12, **more: Any) -> FairSlots:
    return FairSlots(settings=SlotSettings(executions=executions, **more), meter=NullMeter())


def taken(slots: FairSlots, app_id: str, most: int = 1_000) -> int:
    """How many slots the application is given at once."""
    return next(number for number in range(most) if not slots.take(app_id, "c"))


def is_empty(slots: FairSlots) -> bool:
    return (
        not (slots._applications or slots._components or slots._in_turn) and slots._free == slots._settings.executions
    )


async def turns(number: int = 1) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_alone_an_application_has_half_of_the_slots_and_late_comers_find_some_free() -> None:
    slots = slots_of(96)
    found = [taken(slots, "first")]
    for app_id in ("second", "third", "fourth"):
        held = 0
        while slots.take(app_id, "c") or (await _after_turns(slots, app_id)):
            held += 1
        found.append(held)
    assert found == [48, 24, 12, 6]


async def _after_turns(slots: FairSlots, app_id: str) -> bool:
    await turns(2)
    return slots.take(app_id, "c")


async def test_a_limit_of_its_own_holds_an_application_below_its_share() -> None:
    assert taken(slots_of(96, executions_per_application=5), "first") == 5


async def test_who_waits_is_served_in_turn_and_within_an_application_in_order_of_arrival() -> None:
    slots = slots_of(2)
    assert slots.take("a", "c")
    order: list[str] = []

    async def request(app_id: str, name: str) -> None:
        if not slots.take(app_id, "c"):
            await slots.wait(app_id, "c", timeout_s=5)
        order.append(name)
        await turns(3)
        slots.give_back(app_id, "c")

    async with asyncio.TaskGroup() as group:
        for name in ("a1", "a2", "a3", "a4"):
            group.create_task(request("a", name))
        await turns(2)
        assert slots.take("x", "c")
        for name in ("b1", "b2"):
            group.create_task(request("b", name))
        await turns(2)
        slots.give_back("a", "c")
        slots.give_back("x", "c")
    assert [name for name in order if name[0] == "a"] == ["a1", "a2", "a3", "a4"]
    assert [name for name in order if name[0] == "b"] == ["b1", "b2"]
    assert set(order[:4]) >= {"b1", "b2"}
    assert is_empty(slots)


async def test_how_many_wait_is_shown_by_application() -> None:
    metrics = MetricCollector(schema=schema_file("metric_record"), config=MetricsConfig(), clock=FakeClock())
    slots = FairSlots(settings=SlotSettings(executions=2), meter=metrics)

    def shown() -> str:
        lines = metrics.generate_latest_metrics().decode().splitlines()
        return next(line for line in lines if line.startswith("uhlp_requests_waiting{"))

    assert slots.take("a", "c")
    waiting = [asyncio.create_task(slots.wait("a", "c", timeout_s=5)) for _ in range(3)]
    await turns()
    assert shown() == 'uhlp_requests_waiting{appId="a"} 3.0'
    for one in waiting:
        one.cancel()
    await asyncio.wait(waiting)
    assert shown() == 'uhlp_requests_waiting{appId="a"} 0.0'


async def test_a_queue_that_is_full_refuses_with_the_time_to_come_again_and_others_are_let_in() -> None:
    slots = slots_of(4, queue_per_application=1)
    while slots.take("a", "c"):
        pass
    waiting = asyncio.create_task(slots.wait("a", "c", timeout_s=5))
    await turns()
    with pytest.raises(TooManyRequests) as refused:
        await slots.wait("a", "c", timeout_s=5)
    assert (refused.value.status, refused.value.code) == (429, "TOO_MANY_REQUESTS")
    assert refused.value.retry_after_s
    assert refused.value.details == {"running": 2, "waiting": 1}
    assert slots.take("b", "c")
    waiting.cancel()
    await asyncio.wait([waiting])


@pytest.mark.parametrize("bound", ["its deadline", "the settings"])
async def test_nobody_waits_longer_than_the_settings_or_his_deadline_allow(bound: str) -> None:
    slots = slots_of(2, queue_wait_s=0.01 if bound == "the settings" else 60.0)
    assert slots.take("a", "c")
    with pytest.raises(TooManyRequests):
        async with asyncio.timeout(30):
            await slots.wait("a", "c", timeout_s=0.01 if bound == "its deadline" else 60.0)
    slots.give_back("a", "c")
    assert is_empty(slots)


async def test_a_component_with_a_limit_waits_for_itself_and_holds_up_no_other_of_its_application() -> None:
    slots = slots_of(96)
    assert slots.take("a", "slow", 1)
    assert not slots.take("a", "slow", 1)
    waiting = asyncio.create_task(slots.wait("a", "slow", 1, timeout_s=5))
    await turns(2)
    quick = asyncio.create_task(slots.wait("a", "quick", timeout_s=5))
    await asyncio.wait_for(quick, 30)
    assert not waiting.done()
    slots.give_back("a", "slow", 1)
    await asyncio.wait_for(waiting, 30)
    slots.give_back("a", "slow", 1)
    slots.give_back("a", "quick")
    assert is_empty(slots)


async def test_a_limit_that_was_raised_lets_all_in_whom_the_new_one_allows() -> None:
    slots = slots_of(96)
    assert slots.take("a", "slow", 1)
    waiting = [asyncio.create_task(slots.wait("a", "slow", 1, timeout_s=5)) for _ in range(3)]
    await turns(2)
    last = asyncio.create_task(slots.wait("a", "slow", 4, timeout_s=5))
    await turns(2)
    slots.give_back("a", "slow", 1)
    await asyncio.wait_for(asyncio.gather(*waiting, last), 30)


async def test_a_flood_begins_little_in_a_turn_and_a_quiet_application_at_once() -> None:
    slots = slots_of(96)
    assert slots.take("quiet", "c")
    assert taken(slots, "flood") == BEGUN_A_TURN
    flood = [asyncio.create_task(slots.wait("flood", "c", timeout_s=5)) for _ in range(30)]
    begun = []
    for _ in range(6):
        await turns()
        begun.append(sum(task.done() for task in flood))
    steps = [after - before for before, after in pairwise(begun)]
    assert max(steps) <= BEGUN_A_TURN
    assert slots.take("quiet", "c")
    assert slots.take("quiet", "c")
    await asyncio.wait(flood, timeout=30)


class Simulation:
    """Applications that keep so many requests up at a time, each of which holds its slot for some turns."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.answered: Counter[str] = Counter()
        self.waited: dict[str, list[int]] = {}
        self.turn = 0

    async def caller(self, app_id: str, holds: int, pause: int, until: int) -> None:
        while self.turn < until:
            came = self.turn
            if not self.slots.take(app_id, "c"):
                await self.slots.wait(app_id, "c", timeout_s=60)
            self.waited.setdefault(app_id, []).append(self.turn - came)
            try:
                await turns(holds)
            finally:
                self.slots.give_back(app_id, "c")
            self.answered[app_id] += 1
            await turns(pause)

    async def run(self, callers: list[tuple[str, int, int]], until: int = 300) -> None:
        async with asyncio.TaskGroup() as group:
            for app_id, holds, pause in callers:
                group.create_task(self.caller(app_id, holds, pause, until))
            while self.turn < until:
                self.turn += 1
                await turns()


@settings(max_examples=25, deadline=None)
@given(executions=st.integers(8, 64), times=st.integers(5, 20), flood_holds=st.integers(1, 60), holds=st.integers(1, 8))
def test_however_an_application_floods_another_waits_a_few_turns_at_most(
    executions: int, times: int, flood_holds: int, holds: int
) -> None:
    simulation = Simulation(slots_of(executions))
    quiet = [("quiet", holds, 20)] * 2
    asyncio.run(simulation.run([*quiet, *[("flood", flood_holds, 0)] * (2 * times)]))
    assert max(simulation.waited["quiet"][2:], default=0) <= 3
    assert is_empty(simulation.slots)


@settings(max_examples=15, deadline=None)
@given(executions=st.integers(4, 40), first=st.integers(20, 60), second=st.integers(20, 60), holds=st.integers(1, 10))
def test_two_that_flood_alike_are_answered_alike_however_many_each_sends(
    executions: int, first: int, second: int, holds: int
) -> None:
    simulation = Simulation(slots_of(executions))
    asyncio.run(simulation.run([*[("one", holds, 0)] * first, *[("two", holds, 0)] * second], until=400))
    one, two = simulation.answered["one"], simulation.answered["two"]
    assert abs(one - two) <= 0.1 * (one + two) + 60  # those that began before, and those in flight at the end


APPS, COMPONENTS = ("a", "b", "c"), (("x", None), ("y", 1), ("z", 2))
ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "end", "cancel", "turn"]), st.integers(0, 2), st.integers(0, 2)),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(executions=st.integers(2, 9), most=st.none() | st.integers(1, 4), actions=ACTIONS)
def test_whoever_comes_goes_or_gives_up_no_bound_is_passed_and_nothing_stays(
    executions: int, most: int | None, actions: list[tuple[str, int, int]]
) -> None:
    asyncio.run(
        _play(slots_of(executions, executions_per_application=most, queue_per_application=6), executions, actions)
    )


async def _play(slots: FairSlots, executions: int, actions: list[tuple[str, int, int]]) -> None:
    most = slots._settings.executions_per_application or executions
    running: Counter[tuple[str, str]] = Counter()
    requests: deque[tuple[asyncio.Task[None], asyncio.Event]] = deque()

    async def request(app_id: str, component: str, limit: int | None, end: asyncio.Event) -> None:
        if not slots.take(app_id, component, limit):
            with contextlib.suppress(TooManyRequests):
                await slots.wait(app_id, component, limit, timeout_s=60)
                return await held(app_id, component, limit, end)
            return None
        return await held(app_id, component, limit, end)

    async def held(app_id: str, component: str, limit: int | None, end: asyncio.Event) -> None:
        running[app_id, component] += 1
        check()
        try:
            await end.wait()
        finally:
            running[app_id, component] -= 1
            slots.give_back(app_id, component, limit)

    def check() -> None:
        assert sum(running.values()) <= executions
        for app_id in APPS:
            assert sum(running[app_id, name] for name, _ in COMPONENTS) <= most
            assert all(running[app_id, name] <= limit for name, limit in COMPONENTS if limit)

    act: dict[str, Callable[[int], None]] = {
        "end": lambda at: requests[at][1].set(),
        "cancel": lambda at: requests[at][0].cancel() and None,
    }
    for what, app, which in actions:
        if what == "turn":
            await turns()
        elif what == "ask":
            end = asyncio.Event()
            requests.append((asyncio.create_task(request(APPS[app], *COMPONENTS[which], end)), end))
        elif requests:
            act[what]((app * 3 + which) % len(requests))
    for _, end in requests:
        end.set()
    if requests:
        done, late = await asyncio.wait([task for task, _ in requests], timeout=30)
        assert not late
        assert not [task for task in done if not task.cancelled() and task.exception()]
    await turns(2)
    assert is_empty(slots)
