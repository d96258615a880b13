"""MailboxLoop: a worker of a mailbox that runs by itself or in a loop group (seed 004's `run()` and `shutdown()`)."""

import asyncio
from typing import Generic, TypeVar

from uhlp.mailbox.mailbox_worker import MailboxWorker

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")


class MailboxLoop(Generic[BodyT, ReplyT]):
    """Works on up to `concurrency` messages at once. In a server a LoopGroup drives `run_cycle`, once for each."""

    def __init__(self, worker: MailboxWorker[BodyT, ReplyT], *, concurrency: int = 1) -> None:
        self._worker = worker
        self.concurrency = concurrency
        self._is_stopping = False
        self._running: asyncio.Event | None = None

    async def run_cycle(self) -> None:
        """Work on the next message."""
        await self._worker.run_cycle()

    async def run(self, *, max_iterations: int | None = None) -> None:
        """Work until `shutdown`, or for so many cycles: messages, or waits of 20 s in which none came."""
        left = max_iterations
        ended = self._running = asyncio.Event()

        async def work() -> None:
            nonlocal left
            while not self._is_stopping and (left is None or left > 0):
                left = None if left is None else left - 1
                await self._worker.run_cycle()

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(work())
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
