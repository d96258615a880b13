"""SandboxPool: the workers of one application, pool and group.

A worker is a spare until its first call, which puts it into a lane for life: "handler" workers run one call at a time
and only ever the code of one component (`Identity`), because code can leave anything behind in its process; "model"
workers run many calls, of templates alone. Each lane holds at most `maxInstances` workers and queues in order of
arrival; at the maximum, an idle worker that nobody waits for makes room for one of another identity.
The pool owns the tasks that start and end workers; `close` awaits them.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import NoSandboxAvailable, SandboxDied, ShuttingDown, UhlpError
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import Identity, LaneName, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver, Group, SandboxSpec
from uhlp.sandbox.instruments import SandboxInstruments
from uhlp.sandbox.lane import Lane, Waiter
from uhlp.sandbox.worker_source import WorkerSource

RETRY_AFTER_S = 1.0
PATIENCE_S = 0.02
"""How long the head of the queue waits for a worker of its own identity, before one of another must end for it. Under
full load of several components a worker so serves a run of calls, instead of ending with each."""

EARLY_END_S = 1.0
"""A worker that ends this soon, before any call, counts as a failed start."""


class SandboxPool:
    """Hands out workers. `definition` may be exchanged for one that starts the same sandbox."""

    def __init__(
        self,
        *,
        app_id: str,
        definition: PoolDefinition,
        group: Group,
        driver: Driver,
        settings: SandboxSettings,
        clock: Clock,
        instruments: SandboxInstruments,
    ) -> None:
        self.app_id = app_id
        self.definition = definition
        self.group: Group = group
        self._settings = settings
        self._clock = clock
        self._source = WorkerSource(
            driver=driver, spec=SandboxSpec(app_id=app_id, pool=definition, group=group), settings=settings, clock=clock
        )
        self._counts = instruments.of_pool(app_id, definition.pool_name, group)
        self._lanes: dict[LaneName, Lane] = {"handler": Lane("handler"), "model": Lane("model")}
        self._spares: list[WorkerClient] = []
        self._spares_starting = 0
        self._served = 0
        self._started_s = self._used_s = clock.monotonic()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._quiet: asyncio.Future[None] | None = None

    @property
    def busy(self) -> int:
        """Calls in flight."""
        return sum(lane.busy for lane in self._lanes.values())

    @property
    def workers(self) -> list[WorkerClient]:
        """All that live, spares included."""
        return [*self._spares, *self._lanes["handler"].workers, *self._lanes["model"].workers]

    # Claims

    def take(
        self, lane_name: LaneName, identity: Identity | None = None, *, fresh: bool = False
    ) -> WorkerClient | None:
        """A worker that is free now; None when there is none or others wait. A fresh one ends after its call."""
        lane = self._lanes[lane_name]
        if lane.waiters or self._closing:
            return None
        worker = self._pick(lane, identity, fresh)
        if worker is not None:
            self._counts.hit.inc()
        return worker

    async def wait(
        self, lane_name: LaneName, identity: Identity | None, *, fresh: bool, timeout_s: float
    ) -> WorkerClient:
        """The next worker, in order of arrival. Raises NoSandboxAvailable, IsolationRefused, ShuttingDown."""
        lane = self._lanes[lane_name]
        try:
            self._refuse_if_hopeless(lane)
            worker = await self._queue(lane, Waiter(identity, fresh=fresh), timeout_s)
        except UhlpError:
            self._counts.refused.inc()
            raise
        self._counts.waited.inc()
        return worker

    def release(self, worker: WorkerClient) -> None:
        """Give back a worker from `take` or `wait`; a broken, fresh or worn one ends."""
        worker.in_flight -= 1
        self._served += 1
        self._used_s = worker.idle_since_s = self._clock.monotonic()
        lane = self._lanes[worker.lane or "handler"]
        if worker in lane.workers:
            worn = worker.fresh or worker.worn or worker.requests >= self._most_requests
            if not worker.broken:
                self._source.succeeded()
            if worker.broken or (worn and worker.in_flight == 0):
                self._retire(worker, worker.broken or "It has served its share.")
            else:
                lane.give_back(worker)
        if lane.waiters:
            self._dispatch(lane)
        if self._quiet is not None and not self._quiet.done() and self.busy == 0:
            self._quiet.set_result(None)

    def _pick(self, lane: Lane, identity: Identity | None, fresh: bool) -> WorkerClient | None:
        worker = None if fresh else lane.pick_used(identity, each=self._each(lane), most_requests=self._most_requests)
        if worker is None:
            if not self._spares or lane.size >= self.definition.max_instances:
                return None
            worker = self._spares.pop()
            worker.lane, worker.identity, worker.fresh = lane.name, identity, fresh
            lane.add(worker)
        worker.in_flight += 1
        return worker

    @property
    def _most_requests(self) -> int:
        return self.definition.max_requests_per_instance

    def _each(self, lane: Lane) -> int:
        if lane.name == "handler":
            return 1
        return self.definition.concurrency or self._settings.model_concurrency

    # The queue

    def _refuse_if_hopeless(self, lane: Lane) -> None:
        if self._closing:
            raise ShuttingDown()
        if len(lane.waiters) >= self._settings.max_queue:
            raise NoSandboxAvailable(
                f"Every sandbox of pool {self.definition.pool_name} is busy and {len(lane.waiters)} calls wait.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def _queue(self, lane: Lane, waiter: Waiter, timeout_s: float) -> WorkerClient:
        timer = asyncio.get_running_loop().call_later(timeout_s, self._give_up, waiter)
        lane.waiters.append(waiter)
        try:
            self._dispatch(lane)
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.release(waiter.future.result())
            raise
        finally:
            timer.cancel()
            lane.leave(waiter)

    def _give_up(self, waiter: Waiter) -> None:
        waiter.fail(
            NoSandboxAvailable(
                f"No sandbox of pool {self.definition.pool_name} became free in time.", retry_after_s=RETRY_AFTER_S
            )
        )

    def _dispatch(self, lane: Lane) -> None:
        while lane.waiters:
            first = lane.waiters[0]
            if not first.future.done():
                worker = self._pick(lane, first.identity, first.fresh)
                if worker is None:
                    self._make_room(lane, first)
                    return
                first.future.set_result(worker)
            lane.waiters.popleft()

    def _make_room(self, lane: Lane, first: Waiter) -> None:
        """Nothing is free for the first in the queue: start workers; at the maximum, end idle ones of other identities
        for those that have none at all, and for a first that has waited too long for its own."""
        if self._closing:
            return
        if not self._source.may_start:
            if lane.starting == 0:
                lane.fail_unservable(self._source.refusal())
                self._serve_others(lane)
            return
        now_s = self._clock.monotonic()
        if first.first_since_s is None:
            first.first_since_s = now_s
        if lane.starting == lane.ending == 0 and now_s - first.first_since_s >= PATIENCE_S:
            self._retire_idle(lane)
        self._serve_others(lane)
        wanted = -(-len(lane.waiters) // self._each(lane)) - lane.starting
        for _ in range(min(wanted, self.definition.max_instances - lane.size)):
            lane.starting += 1
            self._run(self._start_for(lane))
        if len(lane.idle):
            for _ in range(min(lane.needed - lane.starting - lane.ending, len(lane.idle))):
                self._retire_idle(lane)
            if lane.starting == lane.ending == 0 and lane.second_look is None:
                lane.second_look = asyncio.get_running_loop().call_later(PATIENCE_S, self._look_again, lane)

    def _look_again(self, lane: Lane) -> None:
        lane.second_look = None
        self._dispatch(lane)

    def _serve_others(self, lane: Lane) -> None:
        """Give idle workers to those of their identity, who wait behind one of another."""
        for waiter in list(lane.waiters) if len(lane.idle) else ():
            if not waiter.fresh and not waiter.future.done() and (worker := lane.idle.take(waiter.identity)):
                worker.in_flight += 1
                waiter.future.set_result(worker)
                lane.waiters.remove(waiter)

    def _retire_idle(self, lane: Lane) -> None:
        worker = lane.idle.least_recently_used()
        if worker is not None:
            self._retire(worker, "Another component needs its place.")

    # Starting and ending

    async def _start_for(self, lane: Lane) -> None:
        try:
            await self._start_spare()
        finally:
            lane.starting -= 1
        self._dispatch(lane)
        for each in self._lanes.values():
            self._dispatch(each)

    async def _start_spare(self) -> None:
        started_s = self._clock.monotonic()
        worker = await self._source.start_worker()
        if worker is None:
            self._counts.start_failures.inc()
            return
        self._counts.start_seconds.observe(self._clock.monotonic() - started_s)
        self._counts.workers.inc()
        self._spares.append(worker)
        worker.on_lost = self._lost
        if worker.broken:  # it ended between its start and this line
            self._lost(worker)
        if self._source.set_aside:
            self._leave_what_was_set_aside()

    def _leave_what_was_set_aside(self) -> None:
        """A sandbox that cannot fork has been replaced: its workers finish their calls, and take no others."""
        for worker in self.workers:
            if worker.sandbox_id in self._source.set_aside:
                worker.worn = True
                if worker.in_flight == 0:
                    self._retire(worker, "Its sandbox can start no more workers.")
        self._run(self._source.sweep({worker.sandbox_id for worker in self.workers}))

    def _lost(self, worker: WorkerClient) -> None:
        """The worker's channel ended. Its calls fail by themselves and bring it back; an idle one is removed here."""
        if worker.in_flight == 0:
            if worker in self._spares and self._clock.monotonic() - worker.started_s < EARLY_END_S:
                self._source.failed(SandboxDied("its workers end before their first call."))
            self._retire(worker, worker.broken or "lost")

    def _retire(self, worker: WorkerClient, reason: str) -> None:
        lane = self._lanes[worker.lane] if worker.lane is not None else None
        if lane is not None:
            if not lane.remove(worker):
                return
            lane.ending += 1
        elif worker in self._spares:
            self._spares.remove(worker)
        else:
            return
        self._run(self._end(worker, lane, reason))

    async def _end(self, worker: WorkerClient, lane: Lane | None, reason: str) -> None:
        exit_reason = await worker.end(reason)
        if worker.outlived_kill:
            await self._source.stop("a worker outlived its kill")
        elif self._source.set_aside:
            await self._source.sweep({worker.sandbox_id for worker in self.workers})
        self._counts.workers.dec()
        self._counts.ended(exit_reason)
        if lane is not None:
            lane.ending -= 1
            self._dispatch(lane)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Reconciling and closing

    async def reconcile(self, minimum: int) -> None:
        """One cycle: recycle idle workers that are old, large or superfluous, keep `minimum` alive, free the queue."""
        now_s = self._clock.monotonic()
        minimum = min(minimum, self.definition.max_instances)
        live = len(self.workers)
        for worker in [each for each in self.workers if each.in_flight == 0]:
            idle = live > minimum and now_s - worker.idle_since_s > self.definition.idle_timeout_s
            if idle or now_s - worker.started_s > self._settings.max_worker_age_s or await self._is_large(worker):
                if worker.in_flight == 0:
                    self._retire(worker, "idle" if idle else "recycled")
                live -= 1
        if self._source.may_start and not self._closing:
            starts = [self._run(self._start_spare()) for _ in range(minimum - live)]
            await asyncio.gather(*starts)
        for lane in self._lanes.values():
            self._dispatch(lane)
        await self._source.sweep({worker.sandbox_id for worker in self.workers})
        if self.is_unused(minimum):
            await self._source.stop("idle")

    async def _is_large(self, worker: WorkerClient) -> bool:
        limit_bytes = self.definition.resource_limits.memory_bytes * self._settings.recycle_memory_share
        return await worker.worker.memory_bytes() > limit_bytes

    def is_unused(self, minimum: int = 0) -> bool:
        """True when nothing lives, starts or waits, and nothing has been asked for since the idle timeout."""
        quiet_s = self._clock.monotonic() - self._used_s
        waiting = any(lane.waiters for lane in self._lanes.values())
        alive = minimum or waiting or self.workers or self._tasks
        return not alive and quiet_s > self.definition.idle_timeout_s

    async def close(self, drain_s: float) -> None:
        """Refuse new calls, let those in flight finish for `drain_s`, then end everything."""
        self._closing = True
        for lane in self._lanes.values():
            lane.fail_waiters(ShuttingDown())
        if self.busy:
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._quiet], timeout=drain_s)
        for worker in self.workers:
            worker.drain()
            self._retire(worker, ShuttingDown().message)
        while self._tasks:
            await asyncio.wait(self._tasks)
            for worker in self.workers:  # one that was starting when the pool closed
                self._retire(worker, ShuttingDown().message)
        await self._source.stop("closed")

    def status(self) -> dict[str, Any]:
        """For people: counts and seconds."""
        return {
            "appId": self.app_id,
            "poolName": self.definition.pool_name,
            "group": self.group,
            "sandboxId": self._source.sandbox_id,
            "workers": len(self.workers),
            "spares": len(self._spares),
            "starting": sum(lane.starting for lane in self._lanes.values()),
            "busy": self.busy,
            "waiting": sum(len(lane.waiters) for lane in self._lanes.values()),
            "requests": self._served,
            "minInstances": self.definition.min_instances,
            "maxInstances": self.definition.max_instances,
            "ageS": round(self._clock.monotonic() - self._started_s, 3),
            "problem": None if self._source.may_start else self._source.refusal().message,
        }
