"""PeriodicLoop: runs a service's cycle again and again, whatever happens in it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from uhlp.backoff import backoff_s
from uhlp.catalogue import server
from uhlp.clock import Clock
from uhlp.errors import Unavailable
from uhlp.metering import Meter, NullMeter

FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 60.0
LONGEST_OUTAGE_PAUSE_S = 5.0
"""What does not answer will be back: it is asked oftener than what is broken."""

log = structlog.get_logger(__name__)

Pause = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class LoopStatus:
    """What is known of a loop; `last_error` is None again after a cycle that went well."""

    name: str
    is_running: bool
    cycles: int
    crashes: int
    consecutive_crashes: int
    last_error: str | None
    last_cycle_ended_at: float | None
    """Wall clock, seconds since the epoch."""
    last_cycle_s: float | None

    @property
    def is_healthy(self) -> bool:
        return self.is_running and self.last_error is None


class PeriodicLoop:
    """Runs `service_cycle`, waits `period_s`, and again; the first cycle runs at once.

    A cycle that raises is logged and counted, and repeated after 1, 2, 4 … 60 s (5 s where something it needs is away);
    the loop itself never ends before it is stopped. `waits_for_work`: a cycle that mostly waits for something to do;
    `stop` cancels it instead of waiting for its end. A period that may change is asked for before each pause. `pause`
    sleeps (asyncio.sleep); tests hand in their own.
    """

    def __init__(
        self,
        name: str,
        service_cycle: Callable[[], Awaitable[object]],
        period_s: float | Callable[[], float],
        clock: Clock,
        *,
        meter: Meter | None = None,
        waits_for_work: bool = False,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.name = name
        self._waits_for_work = waits_for_work
        self._task: asyncio.Task[None] | None = None
        self._service_cycle = service_cycle
        self._period_s = period_s if callable(period_s) else lambda: period_s
        self._clock = clock
        self._pause = pause
        meter = meter or NullMeter()
        self._cycles_counted = server.LOOP_CYCLES.on(meter).labels(name)
        self._crashes_counted = server.LOOP_CRASHES.on(meter).labels(name)
        self._lag = server.LOOP_LAG.on(meter).labels(name)
        self._cycle_seconds = server.LOOP_CYCLE_SECONDS.on(meter).labels(name)
        self._woken = asyncio.Event()
        self._stopping = False
        self._is_running = False
        self._cycles = 0
        self._crashes = 0
        self._consecutive_crashes = 0
        self._last_error: str | None = None
        self._is_outage = False
        self._last_cycle_ended_at: float | None = None
        self._last_cycle_s: float | None = None

    async def run(self) -> None:
        """Run cycles until `stop`; LoopGroup calls this."""
        self._is_running = True
        self._task = asyncio.current_task()
        try:
            while not self._stopping:
                self._woken.clear()
                await self._run_one_cycle()
                await self._pause_or_wake(self._next_pause_s())
        finally:
            self._is_running = False

    def wake(self) -> None:
        """Run a cycle now; during one, run another right after it."""
        self._woken.set()

    def stop(self) -> None:
        """Ask the loop to end after the cycle it is in, or at once when that waits for work; does not wait."""
        self._stopping = True
        self._woken.set()
        if self._waits_for_work and self._task is not None:
            self._task.cancel()

    def status(self) -> LoopStatus:
        """What is known of this loop now."""
        return LoopStatus(
            name=self.name,
            is_running=self._is_running,
            cycles=self._cycles,
            crashes=self._crashes,
            consecutive_crashes=self._consecutive_crashes,
            last_error=self._last_error,
            last_cycle_ended_at=self._last_cycle_ended_at,
            last_cycle_s=self._last_cycle_s,
        )

    async def _run_one_cycle(self) -> None:
        started = self._clock.monotonic()
        try:
            await self._service_cycle()
        except BaseException as error:  # also a panic of a Rust library, or a cancelled future that the cycle awaited
            if _ends_the_loop(error):
                raise
            self._crashes += 1
            self._consecutive_crashes += 1
            self._last_error = f"{type(error).__name__}: {error}"
            self._is_outage = isinstance(error, Unavailable) and error.retryable
            self._crashes_counted.inc()
            if self._is_outage:
                log.warning("loop_waits", loop=self.name, reason=self._last_error, retry_in_s=self._next_pause_s())
            else:
                log.exception("loop_cycle_crashed", loop=self.name, retry_in_s=self._next_pause_s())
        else:
            self._consecutive_crashes = 0
            self._last_error = None
        self._cycles += 1
        self._cycles_counted.inc()
        self._last_cycle_ended_at = self._clock.now()
        self._last_cycle_s = self._clock.monotonic() - started
        self._cycle_seconds.set(self._last_cycle_s)

    def _next_pause_s(self) -> float:
        if not self._consecutive_crashes:
            return self._period_s()
        longest_s = LONGEST_OUTAGE_PAUSE_S if self._is_outage else LONGEST_BACKOFF_S
        return backoff_s(self._consecutive_crashes, first_s=FIRST_BACKOFF_S, longest_s=longest_s)

    async def _pause_or_wake(self, seconds: float) -> None:
        due = self._clock.monotonic() + seconds
        pause = asyncio.ensure_future(self._pause(seconds))
        woken = asyncio.ensure_future(self._woken.wait())
        try:
            await asyncio.wait({pause, woken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            pause.cancel()
            woken.cancel()
        self._lag.set(max(0.0, self._clock.monotonic() - due))  # a loop that was woken is early


def _ends_the_loop(error: BaseException) -> bool:
    """Whether `error` asks this task to end, rather than telling of a failed cycle."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
