"""Loops and the event loop say how late they are."""

import asyncio
import socket

from tests.shown_metrics import ShownMeter
from tests.unit.loops.test_loop_group import Service, SteppedTime
from uhlp.catalogue import server
from uhlp.clock import FakeClock
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.loops.event_loop_lag import EventLoopLag
from uhlp.loops.process_gauges import ProcessGauges


async def test_a_loop_shows_how_much_later_than_due_its_cycle_began() -> None:
    time, service, clock, meter = SteppedTime(), Service(), FakeClock(), ShownMeter()
    async with LoopGroup([PeriodicLoop("sampler", service.run_cycle, 30, clock, meter=meter, pause=time.pause)]):
        await time.reach_pause()
        clock.advance(32)
        time.end_pause()
        await time.reach_pause()
        assert meter.series(server.LOOP_LAG) == {("sampler",): 2}
        assert meter.series(server.LOOP_CYCLES) == {("sampler",): 2}


async def test_a_loop_that_was_woken_early_is_not_late() -> None:
    time, service, clock, meter = SteppedTime(), Service(), FakeClock(), ShownMeter()
    async with LoopGroup(
        [PeriodicLoop("sampler", service.run_cycle, 30, clock, meter=meter, pause=time.pause)]
    ) as loops:
        await time.reach_pause()
        loops.wake("sampler")
        await time.reach_pause()
        assert meter.series(server.LOOP_LAG) == {("sampler",): 0}


async def test_the_event_loops_lag_is_what_a_cycle_comes_late() -> None:
    clock, meter = FakeClock(), ShownMeter()
    lag = EventLoopLag(clock=clock, meter=meter)
    for late_s in (0.0, 0.0, 0.5, 0.02):
        clock.advance(lag.every_s + late_s)
        await lag.run_cycle()
    assert meter.series(server.EVENT_LOOP_LAG, "_count") == {(): 3}
    assert abs(meter.series(server.EVENT_LOOP_LAG, "_sum")[()] - 0.52) < 1e-6


async def test_the_process_shows_how_many_tasks_there_are() -> None:
    meter, ending = ShownMeter(), asyncio.Event()
    process = ProcessGauges(meter=meter)
    process.show()
    before = meter.series(server.TASKS)[()]
    async with asyncio.TaskGroup() as group:
        group.create_task(ending.wait())
        process.show()
        assert meter.series(server.TASKS)[()] == before + 1
        ending.set()
    process.show()
    assert meter.series(server.TASKS)[()] == before


async def test_the_process_shows_its_memory_and_its_descriptors() -> None:
    meter = ShownMeter()
    process = ProcessGauges(meter=meter)
    process.show()
    before = meter.series(server.OPEN_FILES)[()]
    with socket.socket():
        process.show()
    assert meter.series(server.OPEN_FILES)[()] == before + 1
    assert 1 << 20 < meter.series(server.RESIDENT_MEMORY)[()] < 1 << 40
    assert meter.series(server.CPU_SECONDS)[()] > 0
