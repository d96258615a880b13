"""Lane: the workers of one kind in a pool, and who waits for them, in order of arrival."""

import asyncio
from collections import deque

from uhlp.errors import UhlpError
from uhlp.sandbox.client import LaneName, WorkerClient


class Waiter:
    """A caller in the queue. A fresh one takes only a worker that has served nothing."""

    __slots__ = ("fresh", "future")

    def __init__(self, *, fresh: bool) -> None:
        self.fresh = fresh
        self.future: asyncio.Future[WorkerClient] = asyncio.get_running_loop().create_future()

    def fail(self, error: UhlpError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Lane:
    """`each` calls share a worker: 1 for handlers, many for model calls."""

    def __init__(self, name: LaneName) -> None:
        self.name: LaneName = name
        self.workers: set[WorkerClient] = set()
        self.idle: list[WorkerClient] = []
        self.waiters: deque[Waiter] = deque()
        self.starting = 0
        self.ending = 0

    @property
    def size(self) -> int:
        """Processes that count against the pool's maximum: live, about to live, or not dead yet."""
        return len(self.workers) + self.starting + self.ending

    @property
    def busy(self) -> int:
        """Calls in flight."""
        return sum(worker.in_flight for worker in self.workers)

    def pick_used(self, *, each: int, most_requests: int) -> WorkerClient | None:
        """A worker of this lane with room: the last one used, so that the others may idle out."""
        if self.name == "handler":
            return self.idle.pop() if self.idle else None
        for worker in self.workers:
            has_room = worker.in_flight < each and worker.requests < most_requests
            if has_room and not (worker.broken or worker.worn or worker.fresh):
                return worker
        return None

    def give_back(self, worker: WorkerClient) -> None:
        """The worker is free for the next call."""
        if self.name == "handler":
            self.idle.append(worker)

    def remove(self, worker: WorkerClient) -> bool:
        """Take the worker out for good; False when it is out already."""
        if worker not in self.workers:
            return False
        self.workers.remove(worker)
        if worker in self.idle:
            self.idle.remove(worker)
        return True

    def leave(self, waiter: Waiter) -> None:
        """The caller waits no longer."""
        if waiter in self.waiters:
            self.waiters.remove(waiter)

    def fail_waiters(self, error: UhlpError) -> None:
        while self.waiters:
            self.waiters.popleft().fail(error)
