"""Workforce: the workers of one pool, from start to end: spares, and those of each lane.

It owns the tasks that start and end workers; `finish` awaits them.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import SandboxDied, ShuttingDown
from uhlp.sandbox.client import LaneName, WorkerClient
from uhlp.sandbox.instruments import Ending, PoolInstruments
from uhlp.sandbox.lane import Lane
from uhlp.sandbox.worker_source import WorkerSource

EARLY_END_S = 1.0
"""A worker that ends this soon, before any call, counts as a failed start; not so a refill, which only ends with the
sandbox in which another worker was at its call."""

REFILL_AFTER_S = 0.02
"""The call that took a spare runs first: with a fork beside it, it takes half as long again or more."""

_SAID: dict[Ending, str] = {
    "idle": "Nobody used it.",
    "room": "Another component needs its place.",
    "fresh": "It was for one call.",
    "left": "Its call was abandoned.",
    "gone": "Its pool is no longer needed.",
    "closed": ShuttingDown().message,
    "requests": "It has served its share.",
    "age": "It is old.",
    "memory": "It holds too much memory.",
    "unhealthy": "It does not answer.",
    "asked": "Its sandbox is recycled.",
    "worn": "It can serve no further call.",
    "crashed": SandboxDied().message,
    "hung": "Its call ran out of time.",
}


class Workforce:
    """`on_free` is called when a worker may be free for somebody, or a place; with the lane to serve first."""

    def __init__(
        self,
        *,
        source: WorkerSource,
        clock: Clock,
        counts: PoolInstruments,
        on_free: Callable[[Lane | None], None],
    ) -> None:
        self.source = source
        self.lanes: dict[LaneName, Lane] = {"handler": Lane("handler"), "model": Lane("model")}
        self.spares: list[WorkerClient] = []
        self.spares_starting = 0
        self._clock = clock
        self._counts = counts
        self._on_free = on_free
        self._why_worn: dict[WorkerClient, Ending] = {}
        self._refill: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def workers(self) -> list[WorkerClient]:
        """All that live, spares included."""
        return [*self.spares, *self.lanes["handler"].workers, *self.lanes["model"].workers]

    @property
    def starting(self) -> int:
        return self.spares_starting + sum(lane.starting for lane in self.lanes.values())

    @property
    def is_at_rest(self) -> bool:
        """Nothing lives, starts or ends."""
        return not (self._tasks or self.workers)

    def start_spare(self, *, is_refill: bool = False) -> "asyncio.Task[None]":
        """Start a worker that nobody waits for yet."""
        self.spares_starting += 1
        return self._run(self._start(None, is_refill=is_refill))

    def start_ahead(self) -> None:
        """A worker was used up by its calls, and the next call will need one: start it now, unless one is at hand."""
        if not (self.spares or self.starting) and self.source.may_start:
            self.start_spare()

    def refill(self, number: int) -> None:
        """A spare was taken: start another, so that whoever needs the next waits for no fork."""
        if self._refill is None and number:
            self._refill = asyncio.get_running_loop().call_later(REFILL_AFTER_S, self._refill_now, number)

    def _refill_now(self, number: int) -> None:
        self._refill = None
        if self.workers and len(self.spares) + self.starting < number and self.source.may_start:
            self.start_spare(is_refill=True)

    def start_for(self, lane: Lane) -> None:
        """Start a worker that counts against the lane's maximum from now on."""
        lane.starting += 1
        self._run(self._start(lane))

    async def _start(self, lane: Lane | None, *, is_refill: bool = False) -> None:
        try:
            worker = await self.source.start_worker()
            if worker is not None:
                worker.is_refill = is_refill
                self._join(worker)
        finally:
            if lane is None:
                self.spares_starting -= 1
            else:
                lane.starting -= 1
        self._on_free(lane)
        self.show()

    def _join(self, worker: WorkerClient) -> None:
        self._counts.workers.inc()
        self.spares.append(worker)
        worker.on_lost = self._lost
        if worker.broken:  # it ended between its start and this line
            self._lost(worker)
        if self.source.set_aside:
            self.leave_set_aside("worn")

    def leave_set_aside(self, ending: Ending) -> None:
        """Workers of sandboxes that were set aside finish their calls, and take no others."""
        for worker in self.workers:
            if worker.sandbox_id in self.source.set_aside:
                self.recycle(worker, ending)
        self._run(self.sweep())

    async def sweep(self) -> None:
        """Stop sandboxes that were set aside and have no worker left."""
        await self.source.sweep({worker.sandbox_id for worker in self.workers})

    def recycle(self, worker: WorkerClient, ending: Ending) -> None:
        """End the worker, after the calls it has now."""
        if worker.in_flight == 0:
            self.retire(worker, ending)
        elif not worker.worn:
            worker.worn = True
            self._why_worn[worker] = ending

    def retire(self, worker: WorkerClient, ending: Ending) -> None:
        """End the worker now; calls in flight fail. Nothing happens when it has left already."""
        lane = self.lanes[worker.lane] if worker.lane is not None else None
        if lane is not None:
            if not lane.remove(worker):
                return
            lane.ending += 1
        elif worker in self.spares:
            self.spares.remove(worker)
        else:
            return
        self.source.served(worker.sandbox_id, worker.requests)
        why_worn = self._why_worn.pop(worker, ending)
        self._run(self._end(worker, lane, why_worn if ending == "worn" else ending))

    async def _end(self, worker: WorkerClient, lane: Lane | None, ending: Ending) -> None:
        exit_reason = await worker.end(worker.broken or _SAID[ending])
        if worker.outlived_kill:
            await self.source.stop("a worker outlived its kill")
        elif self.source.set_aside:
            await self.sweep()
        self._counts.ended(ending, exit_reason)
        if lane is not None:
            lane.ending -= 1
            self._on_free(lane)
        self.show()

    def _lost(self, worker: WorkerClient) -> None:
        """The worker's channel ended. Its calls fail by themselves and bring it back; an idle one is removed here."""
        if worker.in_flight == 0:
            is_early = self._clock.monotonic() - worker.started_s < EARLY_END_S
            if worker in self.spares and is_early and not worker.is_refill:
                self.source.failed(SandboxDied("its workers end before their first call."))
            self.retire(worker, "crashed")

    async def settled(self, timeout_s: float) -> None:
        """Wait until the starts and ends that are under way have come to an end, for at most `timeout_s`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    async def finish(self) -> None:
        """End everything; nothing is left running."""
        if self._refill is not None:
            self._refill.cancel()
        for worker in self.workers:
            worker.drain()
            self.retire(worker, "closed")
        while self._tasks:
            await asyncio.wait(self._tasks)
            for worker in self.workers:  # one that was starting meanwhile
                self.retire(worker, "closed")
        await self.source.stop("closed")
        self.show()

    def show(self) -> None:
        """Set the gauges."""
        workers = self.workers
        busy = sum(worker.in_flight > 0 for worker in workers)
        self._counts.show(idle=len(workers) - busy, busy=busy, starting=self.starting)

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
