"""Loops go on whatever their cycles do, and end together when asked."""

import asyncio
from collections.abc import Callable

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import MailboxUnavailable
from uhlp.loops import LoopGroup, PeriodicLoop

BOUND_S = 30  # of waiting for an event, never of a measurement


class SteppedTime:
    """Pauses that end when the test says so; `asked` lists their lengths in seconds."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._began = asyncio.Event()
        self._over = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        self.asked.append(seconds)
        self._over.clear()
        self._began.set()
        await self._over.wait()

    async def reach_pause(self) -> float:
        """Wait until a pause begins; its length."""
        async with asyncio.timeout(BOUND_S):
            await self._began.wait()
        self._began.clear()
        return self.asked[-1]

    def end_pause(self) -> None:
        self._over.set()


class Service:
    """Counts its cycles; raises as long as `fault` is set."""

    def __init__(self) -> None:
        self.cycles = 0
        self.fault: BaseException | None = None

    async def run_cycle(self) -> None:
        self.cycles += 1
        if self.fault:
            raise self.fault


def loop_of(
    service_cycle: Callable[..., object], time: SteppedTime, name: str = "sampler", clock: FakeClock | None = None
) -> PeriodicLoop:
    return PeriodicLoop(name, service_cycle, 30, clock or FakeClock(), pause=time.pause)  # type: ignore[arg-type]


async def test_a_cycle_runs_at_once_and_then_every_period() -> None:
    time, service = SteppedTime(), Service()
    async with LoopGroup([loop_of(service.run_cycle, time)]):
        for cycles in (1, 2, 3):
            assert await time.reach_pause() == 30
            assert service.cycles == cycles
            time.end_pause()


async def test_waking_runs_a_cycle_without_waiting_for_the_period() -> None:
    time, service = SteppedTime(), Service()
    async with LoopGroup([loop_of(service.run_cycle, time)]) as group:
        await time.reach_pause()
        group.wake("sampler")
        await time.reach_pause()
        assert service.cycles == 2
        with pytest.raises(KeyError):
            group.wake("unknown")


async def test_waking_during_a_cycle_runs_another_right_after_it() -> None:
    time, service = SteppedTime(), Service()
    group = LoopGroup([])

    async def wakes_itself_once() -> None:
        await service.run_cycle()
        if service.cycles == 1:
            group.wake("sampler")

    group = LoopGroup([loop_of(wakes_itself_once, time)])
    async with group:
        while service.cycles < 2:
            await time.reach_pause()
        assert service.cycles == 2


async def test_a_period_that_changes_holds_from_the_next_pause_on() -> None:
    time, service, period_s = SteppedTime(), Service(), [30.0]
    loop = PeriodicLoop("sampler", service.run_cycle, lambda: period_s[0], FakeClock(), pause=time.pause)
    async with LoopGroup([loop]) as group:
        assert await time.reach_pause() == 30
        period_s[0] = 5
        group.wake("sampler")
        assert await time.reach_pause() == 5


async def test_a_crashing_cycle_is_repeated_with_growing_pauses_and_shown() -> None:
    time, service, healthy = SteppedTime(), Service(), Service()
    service.fault = ValueError("no such table")
    other_time = SteppedTime()
    async with LoopGroup([loop_of(service.run_cycle, time), loop_of(healthy.run_cycle, other_time, "other")]) as group:
        for backoff_s in (1, 2, 4, 8, 16, 32, 60, 60):
            assert await time.reach_pause() == backoff_s
            time.end_pause()
        await time.reach_pause()
        crashed, other = group.status()
        assert (crashed.crashes, crashed.consecutive_crashes, crashed.is_healthy) == (9, 9, False)
        assert crashed.last_error == "ValueError: no such table"
        assert other.is_healthy

        service.fault = None
        time.end_pause()
        assert await time.reach_pause() == 30
        recovered = group.status()[0]
        assert (recovered.crashes, recovered.consecutive_crashes, recovered.last_error) == (9, 0, None)
        assert recovered.is_healthy


class LibraryPanic(BaseException):
    """As pyo3 raises when a Rust library panics."""


async def test_a_cycle_that_waits_for_what_is_away_is_repeated_oftener_than_a_broken_one() -> None:
    time, service = SteppedTime(), Service()
    service.fault = MailboxUnavailable()
    async with LoopGroup([loop_of(service.run_cycle, time)]) as group:
        for backoff_s in (1, 2, 4, 5, 5):
            assert await time.reach_pause() == backoff_s
            time.end_pause()
        await time.reach_pause()
        assert not group.status()[0].is_healthy
        service.fault = ValueError("no such table")
        time.end_pause()
        assert await time.reach_pause() == 60


@pytest.mark.parametrize(
    "fault", [asyncio.CancelledError("a future that it awaited"), LibraryPanic("index out of range")]
)
async def test_no_failure_of_a_cycle_ends_the_loop(fault: BaseException) -> None:
    time, service = SteppedTime(), Service()
    service.fault = fault
    async with LoopGroup([loop_of(service.run_cycle, time)]) as group:
        assert await time.reach_pause() == 1
        time.end_pause()
        assert await time.reach_pause() == 2
        assert group.status()[0].is_running


async def test_status_says_when_the_last_cycle_ended_and_how_long_it_took() -> None:
    time, clock = SteppedTime(), FakeClock(now=100.0)

    async def takes_two_seconds() -> None:
        clock.advance(2)

    loop = loop_of(takes_two_seconds, time, clock=clock)
    assert not loop.status().is_running
    async with LoopGroup([loop]) as group:
        await time.reach_pause()
        (status,) = group.status()
        assert (status.cycles, status.last_cycle_s, status.last_cycle_ended_at) == (1, 2, 102.0)
    assert not loop.status().is_running


async def test_stopping_lets_the_cycle_in_progress_finish() -> None:
    began, finished = asyncio.Event(), asyncio.Event()

    async def writes_something() -> None:
        began.set()
        await asyncio.sleep(0)
        finished.set()

    async with LoopGroup([loop_of(writes_something, SteppedTime())]):
        await began.wait()
    assert finished.is_set()


async def test_stopping_signals_all_loops_before_it_waits_for_any() -> None:
    """Each cycle ends only once the other loop was told to stop too: one by one, this would not end in time."""
    time = SteppedTime()
    loops: list[PeriodicLoop] = []
    began = asyncio.Barrier(3)

    async def ends_when_all_are_signalled() -> None:
        await began.wait()
        while not all(loop._stopping for loop in loops):  # noqa: ASYNC110  there is no event to wait for
            await asyncio.sleep(0)

    loops = [loop_of(ends_when_all_are_signalled, time, name) for name in ("a", "b")]
    async with asyncio.timeout(BOUND_S), LoopGroup(loops):
        await began.wait()
    assert all(status.cycles == 1 for status in (loop.status() for loop in loops))


async def test_a_cycle_that_does_not_end_is_cancelled_at_the_deadline() -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def hangs() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with asyncio.timeout(BOUND_S), LoopGroup([loop_of(hangs, SteppedTime())], stop_within_s=0):
        await began.wait()
    assert cancelled.is_set()


async def test_an_error_in_the_body_stops_the_loops_and_is_passed_on() -> None:
    loop = loop_of(Service().run_cycle, SteppedTime())
    with pytest.raises(ZeroDivisionError):
        async with LoopGroup([loop]):
            raise ZeroDivisionError
    assert not loop.status().is_running


class Worker:
    """Brings its own loops, as a worker of a mailbox does."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.works = asyncio.Event()

    async def run_cycle(self) -> None:
        self.works.set()
        await asyncio.Event().wait()

    def loops(self) -> list[PeriodicLoop]:
        names = [f"{self.name}-1", f"{self.name}-2"]
        return [PeriodicLoop(name, self.run_cycle, 0.0, FakeClock(), waits_for_work=True) for name in names]


async def test_workers_bring_their_loops_and_a_group_runs_until_its_shutdown() -> None:
    workers = [Worker("evals"), Worker("optimize")]
    group = LoopGroup(loops=workers)
    running = asyncio.create_task(group.run())
    async with asyncio.timeout(BOUND_S):
        for worker in workers:
            await worker.works.wait()
        assert [one.name for one in group.status()] == ["evals-1", "evals-2", "optimize-1", "optimize-2"]
        assert await group.shutdown(timeout=BOUND_S)
        await running


async def test_two_loops_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="evals-1"):
        LoopGroup(loops=[Worker("evals"), Worker("evals")])


async def test_a_loop_that_waits_for_work_ends_at_once() -> None:
    work: asyncio.Queue[str] = asyncio.Queue()
    taken = asyncio.Event()

    async def take_one() -> None:
        await work.get()
        taken.set()

    loop = PeriodicLoop("worker", take_one, 0.0, FakeClock(), waits_for_work=True)
    work.put_nowait("first")
    async with asyncio.timeout(BOUND_S), LoopGroup([loop], stop_within_s=60):
        await taken.wait()
    assert not loop.status().is_running
