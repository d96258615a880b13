"""Whose expressions are evaluated when, and how long a run may compute."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.execution.workflow.workflow_parts import app_of, ask, expression, mapping, sequence
from uhlp.clock import FakeClock
from uhlp.execution.workflow.live_run import LiveRun, RunFails
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.turns import MOST_COMPUTED_S, Turns
from uhlp.expressions.expression_share import BURST_S, ExpressionShare

NAMES = {"trigger": {"input": {"n": 1}}}
TEN = mapping([f"=trigger.input.n + {n}" for n in range(10)])


@asynccontextmanager
async def time_going_by(clock: FakeClock, timers: Timers) -> AsyncIterator[None]:
    """A second for every turn of the loop."""

    async def go_by() -> None:
        while True:
            clock.advance(1)
            timers.fire_due()
            await asyncio.sleep(0)

    going = asyncio.create_task(go_by())
    try:
        yield
    finally:
        going.cancel()


class TickingClock(FakeClock):
    """Whatever is measured with it took `takes_s`."""

    def __init__(self, takes_s: float) -> None:
        super().__init__()
        self.takes_s = takes_s
        self.turn = 0
        self.read_in_turns: list[int] = []

    def monotonic(self) -> float:
        self.advance(self.takes_s)
        self.read_in_turns.append(self.turn)
        return super().monotonic()

    @property
    def evaluations(self) -> int:
        return len(self.read_in_turns) // 2

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    def evaluated_in_turns(self) -> list[int]:
        return self.read_in_turns[::2]


def turns_of(clock: FakeClock, timers: Timers | None = None) -> Turns:
    timers = Timers(clock=clock) if timers is None else timers
    return Turns(clock=clock, timers=timers, share=ExpressionShare(clock=clock))


def a_run(app_id: str = "shop") -> LiveRun:
    app = replace(app_of(sequence(("price", ask("pricing")))), app_id=app_id)
    component: Any = app.components["order"]
    record: Any = None
    return LiveRun(record, app=app, component=component, plan=component.workflow, most_steps=10, max_bytes=1_000)


async def test_heavy_expressions_of_all_runs_are_evaluated_one_a_turn_of_the_loop():
    clock = TickingClock(0.05)
    turns, counting = turns_of(clock), asyncio.create_task(clock.count_turns())
    values = await asyncio.gather(*(turns.value(a_run(), TEN, NAMES) for _ in range(3)))
    counting.cancel()
    assert values == [list(range(1, 11))] * 3
    later = clock.evaluated_in_turns()[3:]  # each run's first one, when nothing was known of it
    assert len(later) == 27
    assert all(one < following for one, following in pairwise(later))


async def test_a_run_whose_expressions_are_light_waits_for_nobody():
    clock = TickingClock(0.05)
    turns = turns_of(clock)
    heavy = asyncio.create_task(turns.value(a_run(), TEN, NAMES))
    await asyncio.sleep(0)
    clock.takes_s = 0.0001
    light = turns.value(a_run(), TEN, NAMES)
    with pytest.raises(StopIteration) as answered:  # it never gives control away
        light.send(None)
    assert answered.value.value == list(range(1, 11))
    await heavy


async def test_conditions_count_and_a_run_that_computes_too_long_fails_as_a_whole():
    clock = TickingClock(MOST_COMPUTED_S / 4)
    timers = Timers(clock=clock)
    run, turns = a_run(), turns_of(clock, timers)
    condition = expression("trigger.input.n == 1")
    assert await turns.holds(run, None, NAMES)
    async with time_going_by(clock, timers):
        for _ in range(5):
            assert await turns.holds(run, condition, NAMES)
        with pytest.raises(RunFails) as failed:
            await turns.value(run, TEN, NAMES)
    assert failed.value.outcome.code == "EXPRESSIONS_EXHAUSTED"


async def test_many_heavy_runs_of_one_application_leave_most_of_the_time_to_the_others():
    clock = TickingClock(0.15)
    timers = Timers(clock=clock)
    turns, began = turns_of(clock, timers), clock.now()
    heavy = [asyncio.create_task(turns.value(a_run("hog"), TEN, NAMES)) for _ in range(20)]
    for _ in range(200):
        await asyncio.sleep(0)
    computed_s = clock.evaluations * 0.15
    assert computed_s < 0.25 * (clock.now() - began) + BURST_S + 20 * 0.15, "each run's first one is free of turns"
    assert not any(one.done() for one in heavy)

    before = clock.now()
    other = await turns.value(a_run("desk"), TEN, NAMES)
    assert other == list(range(1, 11))
    assert clock.now() - before < 10 * 0.31, "it waited for its own expressions alone"
    async with time_going_by(clock, timers):
        assert await asyncio.gather(*heavy) == [list(range(1, 11))] * 20


async def test_a_run_that_is_ended_while_its_application_owes_leaves_nothing_behind():
    clock = TickingClock(3.0)
    timers = Timers(clock=clock)
    turns = turns_of(clock, timers)
    await turns.holds(a_run(), expression("trigger.input.n == 1"), NAMES)
    waits = [asyncio.create_task(turns.value(a_run(), TEN, NAMES)) for _ in range(2)]
    await asyncio.sleep(0)
    waits[0].cancel()
    await asyncio.wait([waits[0]])
    async with time_going_by(clock, timers):
        with pytest.raises(RunFails):
            await waits[1]  # its own expressions take too long, and not its wait
