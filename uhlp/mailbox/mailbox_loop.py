"""MailboxLoop: a worker of a mailbox that runs by itself or in a loop group (seed 004's `run()` and `shutdown()`)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from uhlp.clock import Clock
from uhlp.loops import PeriodicLoop
from uhlp.mailbox.mailbox_worker import MailboxWorker

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")
Cycle = Callable[[], Awaitable[object]]


class MailboxLoop(Generic[BodyT, ReplyT]):
    """Works on up to `concurrency` messages at once, by itself or in a LoopGroup, which takes it as it is. `beside` are
    cycles that its work needs to go on meanwhile, by name.
    """

    def __init__(
        self,
        worker: MailboxWorker[BodyT, ReplyT],
        *,
        clock: Clock,
        concurrency: int = 1,
        beside: dict[str, Cycle] | None = None,
    ) -> None:
        self._worker = worker
        self._driven_by = clock
        self.concurrency = concurrency
        self._beside = beside or {}
        self._is_stopping = False
        self._running: asyncio.Event | None = None

    async def run_cycle(self) -> None:
        """Work on the next message."""
        await self._worker.run_cycle()

    def loops(self) -> list[PeriodicLoop]:
        """What a LoopGroup drives, named by the mailbox."""
        name = self._worker.mailbox_name
        cycles = [(f"{name}-{number}", self.run_cycle) for number in range(1, self.concurrency + 1)]
        beside = [(f"{name}-{what}", cycle) for what, cycle in self._beside.items()]
        return [
            PeriodicLoop(one, cycle, 0.0, self._driven_by, waits_for_work=True) for one, cycle in [*cycles, *beside]
        ]

    async def run(self, *, max_iterations: int | None = None) -> None:
        """Work until `shutdown`, or for so many cycles: messages, or waits of 20 s in which none came."""
        left = max_iterations
        ended = self._running = asyncio.Event()

        async def work() -> None:
            nonlocal left
            while not self._is_stopping and (left is None or left > 0):
                left = None if left is None else left - 1
                await self._worker.run_cycle()

        async def again_and_again(cycle: Cycle) -> None:
            while True:
                await cycle()

        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(again_and_again(cycle)) for cycle in self._beside.values()]
                async with asyncio.TaskGroup() as workers:
                    for _ in range(self.concurrency):
                        workers.create_task(work())
                for task in beside:
                    task.cancel()
        finally:
            ended.set()
            self._running = None

    async def shutdown(self, *, timeout: float = 30.0) -> bool:  # noqa: ASYNC109  the seed's name
        """Take no more messages and wait for the ones in hand; False when they take longer than `timeout` seconds."""
        self._is_stopping = True
        self._worker.stop()
        if self._running is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._running.wait()
        except TimeoutError:
            return False
        return True
