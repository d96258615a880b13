"""Mailbox: messages from any sender to one receiver each, at least once (seed 004)."""

import asyncio
from contextlib import suppress
from typing import Generic, TypeVar
from uuid import uuid4

from uhlp.errors import MailboxClosed, MailboxUnavailable, ValidationFailed
from uhlp.mailbox.body_codec import BodyCodec
from uhlp.mailbox.cancelling import to_its_end
from uhlp.mailbox.message import DeadLetter, Message
from uhlp.mailbox.message_queue import (
    MOST_LISTED,
    MOST_RECEIVED,
    Delivery,
    MailboxCounts,
    MessageQueue,
    QueueLimits,
    check_delay,
    check_most,
    check_name,
    check_reply_name,
    check_visibility,
)

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")
OtherT = TypeVar("OtherT")
_Taken = tuple[list[Message[BodyT, ReplyT]], float]
_SHORTEST_WAIT_S = 0.001


class Mailbox(Generic[BodyT, ReplyT]):
    """What `SqliteMailbox`, `InMemoryMailbox` and `RedisMailbox` share; they differ in their queue alone.

    A message is ready, delayed, leased, dead or done. First deliveries keep the order of sending; what comes again
    stands behind what was ready before it. After `max_deliveries` of them, or when its body cannot be read, it is a
    dead letter of `<name>:dead`.
    """

    def __init__(
        self, *, name: str, body: type[BodyT], reply: type[ReplyT] | None, queue: MessageQueue, limits: QueueLimits
    ) -> None:
        self.name = check_name(name)
        self._bodies = BodyCodec(body, most_bytes=limits.body_bytes)
        self._replies = None if reply is None else BodyCodec(reply, most_bytes=limits.body_bytes)
        self._queue = queue
        self._limits = limits
        self._is_closed = False

    async def send(self, body: BodyT, *, reply_to: str | None = None, delay_s: float = 0.0) -> str:
        """Add a message; its id, which a reply names in `in_reply_to`.

        Raises MailboxFull, MailboxClosed, MailboxUnavailable (it may have been added all the same), ValidationFailed
        or PayloadTooLarge.
        """
        self._must_be_open()
        raw, delay_s = self._bodies.encode(body), check_delay(delay_s, "delay_s")
        return await self._queue.put(
            raw, delay_s=delay_s, reply_to="" if reply_to is None else check_reply_name(reply_to)
        )

    async def receive(
        self, *, max_messages: int = 1, visibility_timeout: float = 30.0, wait_time_seconds: float = 0.0
    ) -> list[Message[BodyT, ReplyT]]:
        """Lease up to `max_messages` for `visibility_timeout` seconds each, as soon as one is ready.

        Empty when none is before `wait_time_seconds` are over, or the mailbox is closed meanwhile. When it is cancelled
        what it had taken stands first again, as if it had not been delivered.
        """
        self._must_be_open()
        most, timeout_s = check_most(max_messages, MOST_RECEIVED), check_visibility(visibility_timeout)
        wait_s = check_delay(wait_time_seconds, "wait_time_seconds")
        taking = asyncio.ensure_future(self._take(most, timeout_s))
        try:
            messages, _ = await asyncio.shield(taking)
            if messages or not wait_s:
                return messages
            now = asyncio.get_running_loop().time
            ends_at = now() + wait_s
            async with self._queue.bell() as bell:
                while not self._is_closed:
                    taking = asyncio.ensure_future(self._take(most, timeout_s))
                    messages, next_in_s = await asyncio.shield(taking)
                    left_s = ends_at - now()
                    if messages or left_s <= 0:
                        break
                    wait_s = min(left_s, next_in_s, self._queue.longest_wait_s)
                    await bell.wait(max(_SHORTEST_WAIT_S, wait_s))
            return messages
        except BaseException:
            await to_its_end(self._undo(taking))
            raise

    def reply_box(self, body: type[OtherT]) -> "Mailbox[OtherT, None]":
        """A reply queue of this process in the same store, under a name of its own; it need not be registered."""
        name = f"reply:{uuid4().hex}"
        return Mailbox(name=name, body=body, reply=None, queue=self._queue.beside(name), limits=self._limits)

    async def counts(self) -> MailboxCounts:
        """How many messages are in each place."""
        return await self._queue.counts()

    async def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        """The oldest messages that are not delivered any more."""
        return [
            DeadLetter(one.id, one.body, reason, one.delivery_count, one.enqueued_at, died_at)
            for one, reason, died_at in await self._queue.dead(check_most(limit, MOST_LISTED))
        ]

    async def revive(self, message_id: str) -> bool:
        """Deliver a dead letter anew, its deliveries forgotten; False when there is none of this id."""
        self._must_be_open()
        return await self._queue.revive(message_id)

    async def purge_dead_letters(self) -> int:
        """Remove all dead letters; how many there were."""
        return await self._queue.purge_dead()

    async def clear(self) -> int:
        """Remove every message and every dead letter; how many there were. Who works on one loses its lease."""
        return await self._queue.clear()

    async def close(self) -> None:
        """No more is sent or received here, and who waits gets nothing. What was received may still be settled."""
        self._is_closed = True
        with suppress(MailboxUnavailable, MailboxClosed):
            await self._queue.ring()

    async def _take(self, most: int, timeout_s: float) -> "_Taken[BodyT, ReplyT]":
        """What is ready, without those whose body cannot be read."""
        while True:
            deliveries, next_in_s = await self._queue.take(most, timeout_s=timeout_s)
            messages = [one for one in [await self._message(delivery) for delivery in deliveries] if one is not None]
            if messages or not deliveries:
                return messages, next_in_s

    async def _message(self, delivery: Delivery) -> Message[BodyT, ReplyT] | None:
        try:
            body = self._bodies.decode(delivery.body)
        except ValidationFailed as error:
            await self._queue.bury(delivery.id, delivery.token, reason=error.message)
            return None
        return Message(delivery, body, queue=self._queue, replies=self._replies)

    async def _undo(self, taking: "asyncio.Future[_Taken[BodyT, ReplyT]]") -> None:
        """Put what nobody will get back at the head; what a failing store does not take comes when its lease ends."""
        with suppress(MailboxUnavailable, MailboxClosed):
            messages, _ = await taking
            for message in reversed(messages):
                await self._queue.undo(message.id, message.token)

    def _must_be_open(self) -> None:
        if self._is_closed:
            raise MailboxClosed(f"the mailbox {self.name} is closed")
