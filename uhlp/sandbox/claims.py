"""Claims: who gets which worker of a pool, in order of arrival.

A worker is a spare until its first call, which puts it into a lane for life: "handler" workers run one call at a time
and only ever the code of one component (`Identity`), because code can leave anything behind in its process; "model"
workers run many calls, of templates alone. Each lane holds at most `maxInstances` workers and queues in order of
arrival; at the maximum, an idle worker that nobody waits for makes room for one of another identity.
"""

import asyncio

from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, NoSandboxAvailable, ShuttingDown, UhlpError
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import Identity, LaneName, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.crash_loops import CrashLoops
from uhlp.sandbox.instruments import Ending, PoolInstruments
from uhlp.sandbox.lane import Lane, Waiter
from uhlp.sandbox.workforce import Workforce

RETRY_AFTER_S = 1.0
PATIENCE_S = 0.02
"""How long the head of the queue waits for a worker of its own identity, before one of another must end for it. Under
full load of several components a worker so serves a run of calls, instead of ending with each."""


class Claims:
    """Hands out workers and takes them back. `definition` may be exchanged for one that starts the same sandbox."""

    def __init__(
        self,
        *,
        definition: PoolDefinition,
        workforce: Workforce,
        crash_loops: CrashLoops,
        settings: SandboxSettings,
        clock: Clock,
        counts: PoolInstruments,
    ) -> None:
        self.definition = definition
        self.served = 0
        self.used_s = clock.monotonic()
        self._workforce = workforce
        self._lanes = workforce.lanes
        self._spares = workforce.spares
        self._crash_loops = crash_loops
        self._settings = settings
        self._clock = clock
        self._counts = counts
        self._is_closing = False
        self._quiet: asyncio.Future[None] | None = None

    @property
    def busy(self) -> int:
        """Calls in flight."""
        return sum(lane.busy for lane in self._lanes.values())

    @property
    def waiting(self) -> int:
        return sum(len(lane.waiters) for lane in self._lanes.values())

    def take(
        self, lane_name: LaneName, identity: Identity | None = None, *, fresh: bool = False
    ) -> WorkerClient | None:
        """A worker that is free now; None when there is none or others wait. A fresh one ends after its call.

        Raises CrashLoop.
        """
        lane = self._lanes[lane_name]
        if self._crash_loops.by_identity and identity is not None:
            self._crash_loops.admit(identity)
        if lane.waiters or self._is_closing:
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
        since_s = self._clock.monotonic()
        try:
            self._refuse_if_hopeless(lane)
            worker = await self._queue(lane, Waiter(identity, fresh=fresh), timeout_s)
        except UhlpError:
            self._counts.waited(self._clock.monotonic() - since_s, "refused")
            raise
        self._counts.waited(self._clock.monotonic() - since_s, "waited")
        return worker

    def release(self, worker: WorkerClient, failure: UhlpError | None = None) -> None:
        """Give back a worker from `take` or `wait`, with what its call raised; one that is broken, fresh or worn ends.

        A worn model worker ends with its last call.
        """
        worker.in_flight -= 1
        self.served += 1
        self.used_s = worker.idle_since_s = self._clock.monotonic()
        lane = self._lanes[worker.lane or "handler"]
        if failure is not None or self._crash_loops.by_identity:
            self._crash_loops.judge(worker, failure)
        if worker in lane.workers:
            if worker.broken:
                self._workforce.retire(worker, _ending_of(failure))
            else:
                if self._workforce.source.failures:
                    self._workforce.source.succeeded()
                worn = worker.fresh or worker.worn or worker.requests >= self.definition.max_requests_per_instance
                if worn and worker.in_flight == 0:
                    self._workforce.retire(worker, "fresh" if worker.fresh else "worn" if worker.worn else "requests")
                    if lane.name == "handler" and not worker.fresh:
                        self._workforce.start_ahead()
                else:
                    lane.give_back(worker)
        if lane.waiters:
            self.dispatch(lane)
        if self._quiet is not None and not self._quiet.done() and self.busy == 0:
            self._quiet.set_result(None)

    async def close(self, drain_s: float) -> None:
        """Refuse new claims, and wait until those in hand are given back, for at most `drain_s`."""
        self._is_closing = True
        for lane in self._lanes.values():
            lane.fail_waiters(ShuttingDown())
        if self.busy:
            self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._quiet], timeout=drain_s)

    def dispatch(self, lane: Lane) -> None:
        """Serve those who wait in the lane, as far as there are workers for them."""
        while lane.waiters:
            first = lane.waiters[0]
            if not first.future.done():
                worker = self._pick(lane, first.identity, first.fresh)
                if worker is None:
                    self._make_room(lane, first)
                    return
                first.future.set_result(worker)
            lane.waiters.popleft()

    def _pick(self, lane: Lane, identity: Identity | None, fresh: bool) -> WorkerClient | None:
        most_requests = self.definition.max_requests_per_instance
        worker = None if fresh else lane.pick_used(identity, most_requests=most_requests)
        if worker is None:
            if not self._spares or lane.size >= self.definition.max_instances:
                return None
            worker = self._spares.pop()
            worker.lane, worker.identity, worker.fresh = lane.name, identity, fresh
            lane.add(worker)
            if worker.is_fork and lane.size < self.definition.max_instances:
                self._workforce.refill(self._settings.spare_workers)
        worker.in_flight += 1
        return worker

    # The queue

    def _refuse_if_hopeless(self, lane: Lane) -> None:
        if self._is_closing:
            raise ShuttingDown()
        if len(lane.waiters) >= self._settings.max_queue:
            raise NoSandboxAvailable(
                f"Every sandbox of pool {self.definition.pool_name} is busy and {len(lane.waiters)} calls wait.",
                retry_after_s=RETRY_AFTER_S,
            )

    async def _queue(self, lane: Lane, waiter: Waiter, timeout_s: float) -> WorkerClient:
        timer = asyncio.get_running_loop().call_later(timeout_s, self._give_up, waiter)
        lane.waiters.append(waiter)
        self._counts.queue.inc()
        try:
            self.dispatch(lane)
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                self.release(waiter.future.result())
            raise
        finally:
            self._counts.queue.dec()
            timer.cancel()
            lane.leave(waiter)

    def _give_up(self, waiter: Waiter) -> None:
        waiter.fail(
            NoSandboxAvailable(
                f"No sandbox of pool {self.definition.pool_name} became free in time.", retry_after_s=RETRY_AFTER_S
            )
        )

    def _make_room(self, lane: Lane, first: Waiter) -> None:
        """Nothing is free for the first in the queue: start workers; at the maximum, end idle ones of other identities
        for those that have none at all, and for a first that has waited too long for its own."""
        if self._is_closing:
            return
        workforce = self._workforce
        if not workforce.source.may_start:
            if lane.starting == workforce.spares_starting == 0:
                lane.fail_unservable(workforce.source.refusal())
                self._serve_others(lane)
            return
        now_s = self._clock.monotonic()
        if first.first_since_s is None:
            first.first_since_s = now_s
        if self._is_full(lane) and lane.starting == lane.ending == 0 and now_s - first.first_since_s >= PATIENCE_S:
            self._retire_idle(lane)
        self._serve_others(lane)
        wanted = -(-len(lane.waiters) // lane.each) - lane.starting - workforce.spares_starting
        for _ in range(min(wanted, self.definition.max_instances - lane.size)):
            workforce.start_for(lane)
        if len(lane.idle) and self._is_full(lane):
            for _ in range(min(lane.needed - lane.starting - lane.ending, len(lane.idle))):
                self._retire_idle(lane)
            if lane.starting == lane.ending == 0 and lane.second_look is None:
                lane.second_look = asyncio.get_running_loop().call_later(PATIENCE_S, self._look_again, lane)

    def _is_full(self, lane: Lane) -> bool:
        return lane.size >= self.definition.max_instances

    def _look_again(self, lane: Lane) -> None:
        lane.second_look = None
        self.dispatch(lane)

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
            self._workforce.retire(worker, "room")


def _ending_of(failure: UhlpError | None) -> Ending:
    """Why a worker that a call left broken ends."""
    if isinstance(failure, DeadlineExceeded):
        return "hung"
    return "left" if failure is None else "crashed"
