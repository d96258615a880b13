"""Upkeep: one cycle of a pool: workers that are old, large, silent or superfluous end, and missing ones start."""

import asyncio

from uhlp.clock import Clock
from uhlp.errors import SandboxDied
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.instruments import Ending
from uhlp.sandbox.lane import Lane
from uhlp.sandbox.workforce import EARLY_END_S, Workforce

EXAMINED_AT_ONCE = 16
STARTS_AWAITED_S = 1.0
"""A start that takes longer goes on by itself: other pools need their cycle."""


class Upkeep:
    """Brings a pool's workers towards what is wanted. It remembers what a cycle has to know of the one before."""

    def __init__(self, *, workforce: Workforce, settings: SandboxSettings, clock: Clock) -> None:
        self._workforce = workforce
        self._settings = settings
        self._clock = clock
        self._turns = asyncio.Semaphore(EXAMINED_AT_ONCE)
        self._first_bytes: dict[WorkerClient, int] = {}
        """Memory of a worker after its first calls."""
        self._pressed: set[str] = set()
        """Lanes that were busier than they should be at the end of the cycle before."""

    async def run(self, definition: PoolDefinition, *, minimum: int, is_wanted: bool) -> None:
        """One cycle. `minimum` workers live at least, in both lanes and as spares together; none of a pool that is
        not wanted any more, once its calls have ended."""
        minimum = min(minimum, definition.max_instances)
        await self._replace_unfit(definition)
        self._end_superfluous(definition, minimum, is_wanted)
        self._end_failure()
        missing = minimum - len(self._workforce.workers) - self._workforce.spares_starting
        if is_wanted and missing <= 0 and (self._needs_try() or self._needs_spare(definition)):
            missing = 1
        if missing > 0 and self._workforce.source.may_start:
            starts = [self._workforce.start_spare() for _ in range(missing)]
            await asyncio.wait(starts, timeout=STARTS_AWAITED_S)
        if not is_wanted:
            await self._workforce.settled(self._settings.kill_timeout_s)
        await self._workforce.sweep()
        self._workforce.show()

    async def _replace_unfit(self, definition: PoolDefinition) -> None:
        workers = self._workforce.workers
        self._first_bytes = {each: self._first_bytes[each] for each in workers if each in self._first_bytes}
        idle_since_s = [worker.idle_since_s for worker in workers]
        found = await asyncio.gather(*(self._examine(worker, definition) for worker in workers))
        for worker, since_s, ending in zip(workers, idle_since_s, found, strict=True):
            answered_since = worker.in_flight > 0 or worker.idle_since_s != since_s
            if ending is not None and not (ending == "unhealthy" and answered_since):
                self._workforce.recycle(worker, ending)

    async def _examine(self, worker: WorkerClient, definition: PoolDefinition) -> Ending | None:
        """Why the worker has to be replaced."""
        now_s = self._clock.monotonic()
        if now_s - worker.started_s > self._settings.max_worker_age_s:
            return "age"
        async with self._turns:
            idle = worker.in_flight == 0
            needs_ping = idle and now_s - worker.idle_since_s >= self._settings.idle_ping_s
            if needs_ping and not await worker.ping(self._settings.ping_timeout_s):
                return "unhealthy"
            try:
                async with asyncio.timeout(self._settings.ping_timeout_s):
                    size_bytes = await worker.worker.memory_bytes()
            except (TimeoutError, SandboxDied):  # whoever counts it is slow or gone; the ping has judged the worker
                return None
        return "memory" if self._is_large(worker, size_bytes, definition) else None

    def _is_large(self, worker: WorkerClient, size_bytes: int, definition: PoolDefinition) -> bool:
        limit_bytes = definition.resource_limits.memory_bytes
        if size_bytes > limit_bytes * self._settings.recycle_memory_share:
            return True
        if worker.in_flight or not worker.requests:
            return False  # memory during a call says nothing of what stays
        first_bytes = self._first_bytes.setdefault(worker, size_bytes)
        return size_bytes - first_bytes > limit_bytes * self._settings.recycle_growth_share

    def _end_superfluous(self, definition: PoolDefinition, minimum: int, is_wanted: bool) -> None:
        now_s = self._clock.monotonic()
        live = self._workforce.workers
        excess = len(live) - minimum
        for worker in live:
            has_idled = not is_wanted or now_s - worker.idle_since_s > definition.idle_timeout_s
            if worker.in_flight == 0 and excess > 0 and has_idled:
                self._workforce.retire(worker, "idle" if is_wanted else "gone")
                excess -= 1

    def _end_failure(self) -> None:
        """Starts are well again when a worker lives that started after the last failure."""
        source = self._workforce.source
        if source.failures:
            old_s = self._clock.monotonic() - EARLY_END_S
            live = [worker for worker in self._workforce.workers if worker.started_s < old_s]
            if any(source.has_started_since_failure(worker) for worker in live):
                source.succeeded()

    def _needs_try(self) -> bool:
        """Starts fail and nobody asks for one now: try, so that the pool recovers by itself."""
        return self._workforce.source.failures > 0 and self._workforce.starting == 0

    def _needs_spare(self, definition: PoolDefinition) -> bool:
        """A lane was busy at the end of two cycles, may grow, and nothing stands ready for it."""
        lanes = [lane for lane in self._workforce.lanes.values() if self._is_pressed(lane, definition)]
        before, self._pressed = self._pressed, {lane.name for lane in lanes}
        return bool(before & self._pressed) and not self._workforce.spares and not self._workforce.starting

    def _is_pressed(self, lane: Lane, definition: PoolDefinition) -> bool:
        return lane.busy_share > self._settings.scale_up_busy_share and lane.size < definition.max_instances
