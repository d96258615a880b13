"""The worker of a mailbox: what becomes of a message follows from what its handler does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from random import Random
from typing import Any, ClassVar

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import MailboxUnavailable
from uhlp.loops import LoopGroup, PeriodicLoop
from uhlp.mailbox.mailbox_worker import MailboxWorker, Postpone, Reject, Retry
from uhlp.mailbox.message import Message
from uhlp.mailbox.message_queue import MailboxCounts, QueueLimits
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox

Handle = Callable[[Message[int, int]], Awaitable[object]]
NOTHING = MailboxCounts(0, 0, 0, 0)


class Parts:
    """A mailbox by a clock that stands still, and what its worker counted."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.box: InMemoryMailbox[int, int] = InMemoryMailbox(
            name="work", body=int, reply=int, clock=self.clock, limits=QueueLimits(max_deliveries=4)
        )
        self.outcomes: list[str] = []

    def worker(self, handle: Handle, *, visibility_s: float = 30.0) -> MailboxWorker[int, int]:
        return MailboxWorker(
            self.box, handle, clock=self.clock, visibility_s=visibility_s, count=self.outcomes.append, random=Random(1)
        )


@pytest.fixture
async def parts() -> AsyncIterator[Parts]:
    made = Parts()
    yield made
    await made.box.aclose()


def raising(error: BaseException) -> Handle:
    async def handle(message: Message[int, int]) -> None:
        raise error

    return handle


async def test_what_is_done_is_acknowledged(parts: Parts) -> None:
    seen: list[tuple[int, int]] = []

    async def handle(message: Message[int, int]) -> None:
        seen.append((message.body, message.delivery_count))

    await parts.box.send(7)
    await parts.worker(handle).run_cycle()
    assert (seen, parts.outcomes) == ([(7, 1)], ["done"])
    assert await parts.box.counts() == NOTHING


async def test_what_fails_comes_again_later_and_later_and_then_is_a_dead_letter(parts: Parts) -> None:
    worker = parts.worker(raising(KeyError("no such order")))
    await parts.box.send(7)
    for longest_s in (1.0, 2.0, 4.0):
        await worker.run_cycle()
        assert await parts.box.counts() == MailboxCounts(0, 0, 1, 0)
        parts.clock.advance(longest_s / 2 - 0.01)
        assert await parts.box.receive() == []
        parts.clock.advance(longest_s / 2 + 0.01)
    await worker.run_cycle()
    (letter,) = await parts.box.dead_letters()
    assert letter.reason == "delivered 4 times, at last: KeyError: 'no such order'"
    assert parts.outcomes == ["retried"] * 4


async def test_a_handler_says_when_to_try_again(parts: Parts) -> None:
    await parts.box.send(7)
    await parts.worker(raising(Retry(120, "the model is down"))).run_cycle()
    parts.clock.advance(119)
    assert await parts.box.receive() == []
    parts.clock.advance(1)
    (message,) = await parts.box.receive()
    assert (message.body, message.delivery_count) == (7, 2)


async def test_what_could_not_begin_comes_again_as_if_for_the_first_time(parts: Parts) -> None:
    worker = parts.worker(raising(Postpone(10, "no sandbox")))
    await parts.box.send(7)
    for _ in range(6):
        await worker.run_cycle()
        parts.clock.advance(9.9)
        assert await parts.box.receive() == []
        parts.clock.advance(5.2)
    (message,) = await parts.box.receive()
    assert (message.delivery_count, parts.outcomes) == (1, ["postponed"] * 6)


async def test_what_is_rejected_is_a_dead_letter_at_once(parts: Parts) -> None:
    await parts.box.send(7)
    await parts.worker(raising(Reject("no order number"))).run_cycle()
    (letter,) = await parts.box.dead_letters()
    assert (letter.reason, letter.delivery_count, parts.outcomes) == ("no order number", 1, ["rejected"])


async def test_a_lease_is_renewed_as_long_as_the_work_goes_on(parts: Parts) -> None:
    worked, renewals = asyncio.Event(), asyncio.Semaphore(0)

    async def handle(message: Message[int, int]) -> None:
        extend = message.extend

        async def extend_and_tell(visibility_timeout: float) -> None:
            await extend(visibility_timeout)
            renewals.release()

        message.extend = extend_and_tell  # type: ignore[method-assign]
        await worked.wait()

    await parts.box.send(7)
    cycle = asyncio.create_task(parts.worker(handle, visibility_s=0.06).run_cycle())
    async with asyncio.timeout(30):
        for _ in range(6):  # three times as long as one lease
            await renewals.acquire()
            parts.clock.advance(0.03)
        worked.set()
        await cycle
    assert parts.outcomes == ["done"]
    assert await parts.box.counts() == NOTHING


async def test_a_lost_lease_cancels_the_work_and_leaves_the_message_to_who_has_it(parts: Parts) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handle(message: Message[int, int]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await parts.box.send(7)
    cycle = asyncio.create_task(parts.worker(handle, visibility_s=0.06).run_cycle())
    await asyncio.wait_for(begun.wait(), 30)
    parts.clock.advance(1)
    (others,) = await parts.box.receive(visibility_timeout=600)
    await asyncio.wait_for(cycle, 30)
    assert cancelled.is_set()
    assert parts.outcomes == ["lost"]
    await others.acknowledge()


async def test_work_that_ends_after_its_lease_is_not_acknowledged(parts: Parts) -> None:
    async def handle(message: Message[int, int]) -> None:
        parts.clock.advance(31)

    await parts.box.send(7)
    await parts.worker(handle).run_cycle()
    assert parts.outcomes == ["lost"]
    assert await parts.box.counts() == MailboxCounts(1, 0, 0, 0)


async def test_a_worker_that_is_cancelled_gives_its_message_back_at_once(parts: Parts) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handle(message: Message[int, int]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    await parts.box.send(7)
    for _ in range(7):  # a server that is stopped more often than a message is delivered: no dead letter comes of it
        begun.clear()
        ended.clear()
        cycle = asyncio.create_task(parts.worker(handle).run_cycle())
        await asyncio.wait_for(begun.wait(), 30)
        cycle.cancel()
        await asyncio.wait([cycle], timeout=30)
        assert cycle.cancelled()
        assert ended.is_set()
        assert await parts.box.counts() == MailboxCounts(1, 0, 0, 0)
    (message,) = await parts.box.receive()
    assert message.delivery_count == 1


async def test_a_worker_that_is_cancelled_in_the_moment_of_a_delivery_gives_the_message_back_at_once() -> None:
    cycles: list[asyncio.Task[None]] = []

    class CancellingMailbox(InMemoryMailbox[int, int]):
        async def receive(self, **how: Any) -> list[Message[int, int]]:
            messages = await super().receive(**how)
            cycles[0].cancel()
            return messages

    async def handle(message: Message[int, int]) -> None:
        raise AssertionError("nobody is left to work")

    box = CancellingMailbox(name="work", body=int, clock=FakeClock())
    await box.send(7)
    cycles.append(asyncio.create_task(MailboxWorker(box, handle, clock=FakeClock()).run_cycle()))
    await asyncio.wait(cycles, timeout=20)
    assert cycles[0].cancelled()
    assert await box.counts() == MailboxCounts(1, 0, 0, 0)
    await box.aclose()


async def test_a_handler_replies_before_its_message_is_acknowledged(parts: Parts) -> None:
    replies: InMemoryMailbox[int, Any] = InMemoryMailbox(name="reply:me", body=int, beside=parts.box)

    async def handle(message: Message[int, int]) -> None:
        await message.reply(message.body * 2)

    message_id = await parts.box.send(7, reply_to="reply:me")
    await parts.worker(handle).run_cycle()
    (reply,) = await replies.receive()
    assert (reply.body, reply.in_reply_to) == (14, message_id)


async def test_a_store_that_fails_while_the_work_goes_on_ends_it_when_the_lease_must_be_over(parts: Parts) -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    class Stuck(MailboxWorker[int, int]):
        """Its messages cannot be extended."""

        async def _work(self, message: Message[int, int]) -> None:
            message.extend = down  # type: ignore[method-assign]
            await super()._work(message)

    async def down(visibility_timeout: float) -> None:
        parts.clock.advance(visibility_timeout / 2)
        raise MailboxUnavailable("the disk is gone")

    async def handle(message: Message[int, int]) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    await parts.box.send(7)
    await asyncio.wait_for(
        Stuck(parts.box, handle, clock=parts.clock, visibility_s=0.06, count=parts.outcomes.append).run_cycle(), 5
    )
    assert cancelled.is_set()
    assert parts.outcomes == ["lost"]


async def test_after_an_outage_a_worker_looks_without_waiting_so_that_its_loop_is_well_at_once(parts: Parts) -> None:
    class Away(InMemoryMailbox[int, int]):
        """Does not answer while `is_away`; `waits` are how long it was to wait for a message."""

        is_away = True
        waits: ClassVar[list[float]] = []

        async def receive(
            self, *, max_messages: int = 1, visibility_timeout: float = 30.0, wait_time_seconds: float = 0.0
        ) -> list[Message[int, int]]:
            self.waits.append(wait_time_seconds)
            if self.is_away:
                raise MailboxUnavailable
            return await super().receive(max_messages=max_messages)

    box = Away(name="away", body=int, reply=int, clock=parts.clock)
    worker = MailboxWorker(box, raising(KeyError()), clock=parts.clock)
    with pytest.raises(MailboxUnavailable):
        await worker.run_cycle()
    with pytest.raises(MailboxUnavailable):
        await asyncio.create_task(worker.run_cycle())
    box.is_away = False
    await worker.run_cycle()
    await worker.run_cycle()
    await box.aclose()
    assert box.waits == [20.0, 20.0, 0.0, 20.0], "another task had its own first look"


async def test_workers_in_loops_stop_together_and_finish_what_they_have(parts: Parts) -> None:
    begun, finish, done = asyncio.Event(), asyncio.Event(), []

    async def handle(message: Message[int, int]) -> None:
        begun.set()
        await finish.wait()
        done.append(message.body)

    loops = LoopGroup([PeriodicLoop(f"worker-{n}", parts.worker(handle).run_cycle, 0.0, parts.clock) for n in range(3)])
    async with loops:
        await parts.box.send(7)
        await asyncio.wait_for(begun.wait(), 30)
        stopping = asyncio.create_task(loops.stop())
        await parts.box.close()  # who waits for a message need not wait on
        finish.set()
        await asyncio.wait_for(stopping, 30)
    assert done == [7]
    assert await parts.box.counts() == NOTHING
