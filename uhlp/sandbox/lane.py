"""Lane: the workers of one kind in a pool, and who waits for them, in order of arrival."""

import asyncio
from collections import Counter, deque

from uhlp.errors import UhlpError
from uhlp.sandbox.client import Identity, LaneName, WorkerClient


class Waiter:
    """A caller in the queue. A fresh one takes only a worker that has served nothing."""

    __slots__ = ("first_since_s", "fresh", "future", "identity")

    def __init__(self, identity: Identity | None, *, fresh: bool) -> None:
        self.identity = identity
        self.fresh = fresh
        self.future: asyncio.Future[WorkerClient] = asyncio.get_running_loop().create_future()
        self.first_since_s: float | None = None
        """When it came to the head of the queue and found no worker."""

    def fail(self, error: UhlpError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class IdleWorkers:
    """Workers without a call, found by what they are bound to."""

    def __init__(self) -> None:
        self._by_identity: dict[Identity | None, list[WorkerClient]] = {}
        self._by_age: dict[WorkerClient, None] = {}

    def __len__(self) -> int:
        return len(self._by_age)

    def put(self, worker: WorkerClient) -> None:
        self._by_identity.setdefault(worker.identity, []).append(worker)
        self._by_age[worker] = None

    def take(self, identity: Identity | None) -> WorkerClient | None:
        """The last one used, so that the others may idle out."""
        workers = self._by_identity.get(identity)
        if not workers:
            return None
        worker = workers.pop()
        del self._by_age[worker]
        return worker

    def least_recently_used(self) -> WorkerClient | None:
        return next(iter(self._by_age), None)

    def remove(self, worker: WorkerClient) -> None:
        """Forget the worker, if it is here, and its identity, if it was the last."""
        workers = self._by_identity.get(worker.identity, [])
        if worker in self._by_age:
            del self._by_age[worker]
            workers.remove(worker)
        if not workers:
            self._by_identity.pop(worker.identity, None)


class Lane:
    """`each` calls share a worker: 1 for handlers, many for model calls.

    A handler worker serves one identity for life; model workers are bound to nothing (`identity` None).
    """

    def __init__(self, name: LaneName) -> None:
        self.name: LaneName = name
        self.each = 1
        self.workers: set[WorkerClient] = set()
        self.bound: Counter[Identity | None] = Counter()
        """How many of the workers are bound to what."""
        self.idle = IdleWorkers()
        self.waiters: deque[Waiter] = deque()
        self.starting = 0
        self.ending = 0
        self.second_look: asyncio.TimerHandle | None = None
        """Set while the first in the queue waits for its own kind though others idle."""

    @property
    def size(self) -> int:
        """Processes that count against the pool's maximum: live, about to live, or not dead yet."""
        return len(self.workers) + self.starting + self.ending

    @property
    def busy(self) -> int:
        """Calls in flight."""
        return sum(worker.in_flight for worker in self.workers)

    @property
    def busy_share(self) -> float:
        """Calls in flight over those that the workers could run; 0 without workers."""
        return self.busy / (self.each * len(self.workers)) if self.workers else 0.0

    def pick_used(self, identity: Identity | None, *, most_requests: int) -> WorkerClient | None:
        """A worker of this lane with room, bound to `identity`."""
        if self.name == "handler":
            return self.idle.take(identity)
        for worker in self.workers:
            has_room = worker.in_flight < self.each and worker.requests < most_requests
            if has_room and not (worker.broken or worker.worn or worker.fresh):
                return worker
        return None

    def give_back(self, worker: WorkerClient) -> None:
        """The worker is free for the next call."""
        if self.name == "handler":
            self.idle.put(worker)

    def add(self, worker: WorkerClient) -> None:
        self.workers.add(worker)
        self.bound[worker.identity] += 1

    def remove(self, worker: WorkerClient) -> bool:
        """Take the worker out for good; False when it is out already."""
        if worker not in self.workers:
            return False
        self.workers.remove(worker)
        self.idle.remove(worker)
        self.bound[worker.identity] -= 1
        if not self.bound[worker.identity]:
            del self.bound[worker.identity]
        return True

    @property
    def needed(self) -> int:
        """Workers without which somebody in the queue cannot be served at all: one for each identity that has none."""
        fresh = sum(waiter.fresh for waiter in self.waiters)
        return fresh + len({waiter.identity for waiter in self.waiters if not waiter.fresh} - self.bound.keys())

    def leave(self, waiter: Waiter) -> None:
        """The caller waits no longer."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def fail_waiters(self, error: UhlpError) -> None:
        while self.waiters:
            self.waiters.popleft().fail(error)

    def fail_unservable(self, error: UhlpError) -> None:
        """No worker will start for now: fail those whom no worker that lives could serve."""
        bound = {worker.identity for worker in self.workers if not (worker.broken or worker.worn)}
        for waiter in list(self.waiters):
            if waiter.fresh or waiter.identity not in bound:
                self.waiters.remove(waiter)
                waiter.fail(error)
