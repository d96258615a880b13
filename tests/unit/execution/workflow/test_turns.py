"""Whose expressions are evaluated when, and how long a run may compute."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from tests.unit.execution.workflow.workflow_parts import app_of, ask, expression, mapping, sequence
from uhlp.clock import FakeClock
from uhlp.execution.workflow.live_run import LiveRun, RunFails
from uhlp.execution.workflow.turns import MOST_COMPUTED_S, Turns

NAMES = {"trigger": {"input": {"n": 1}}}
TEN = mapping([f"=trigger.input.n + {n}" for n in range(10)])


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

    async def count_turns(self) -> None:
        while True:
            self.turn += 1
            await asyncio.sleep(0)

    def evaluated_in_turns(self) -> list[int]:
        return self.read_in_turns[::2]


def a_run() -> LiveRun:
    app = app_of(sequence(("price", ask("pricing"))))
    component: Any = app.components["order"]
    record: Any = None
    return LiveRun(record, app=app, component=component, plan=component.workflow, most_steps=10, max_bytes=1_000)


async def test_heavy_expressions_of_all_runs_are_evaluated_one_a_turn_of_the_loop():
    clock = TickingClock(0.05)
    turns, counting = Turns(clock=clock), asyncio.create_task(clock.count_turns())
    values = await asyncio.gather(*(turns.value(a_run(), TEN, NAMES) for _ in range(3)))
    counting.cancel()
    assert values == [list(range(1, 11))] * 3
    later = clock.evaluated_in_turns()[3:]  # each run's first one, when nothing was known of it
    assert len(later) == 27
    assert all(one < following for one, following in pairwise(later))


async def test_a_run_whose_expressions_are_light_waits_for_nobody():
    clock = TickingClock(0.05)
    turns = Turns(clock=clock)
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
    run, turns = a_run(), Turns(clock=clock)
    condition = expression("trigger.input.n == 1")
    assert await turns.holds(run, None, NAMES)
    for _ in range(5):
        assert await turns.holds(run, condition, NAMES)
    with pytest.raises(RunFails) as failed:
        await turns.value(run, TEN, NAMES)
    assert failed.value.outcome.code == "EXPRESSIONS_EXHAUSTED"
