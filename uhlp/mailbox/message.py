"""What goes through a mailbox, as its users see it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from uhlp.errors import LeaseLost, ValidationFailed
from uhlp.mailbox.body_codec import BodyCodec
from uhlp.mailbox.message_queue import Delivery, MessageQueue, check_delay, check_visibility

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")
_LONGEST_REASON = 1_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that is not delivered any more, and why; its body is JSON as it came.

    `enqueued_at` and `died_at` are seconds since the epoch, by the clock of the store.
    """

    id: str
    body: bytes
    reason: str
    delivery_count: int
    enqueued_at: float
    died_at: float


class Message(Generic[BodyT, ReplyT]):
    """One delivery of a message (seed 004): whoever holds it works on it until its lease ends.

    A message comes again when it is not acknowledged in time, so work is done at least once. After a lease has ended,
    by time or by one of these methods, each of them but `reply` raises LeaseLost and changes nothing.
    """

    def __init__(
        self, delivery: Delivery, body: BodyT, *, queue: MessageQueue, replies: BodyCodec[ReplyT] | None
    ) -> None:
        self.id = delivery.id
        self.body = body
        self.delivery_count = delivery.delivery_count
        """1 at the first delivery."""
        self.token = delivery.token
        """Fencing token: above that of every earlier delivery of this mailbox."""
        self.enqueued_at = delivery.enqueued_at
        """Seconds since the epoch, by the clock of the store."""
        self.reply_to = delivery.reply_to or None
        self.in_reply_to = delivery.in_reply_to or None
        """The id of the message that this one answers."""
        self._queue = queue
        self._replies = replies

    async def acknowledge(self) -> None:
        """The work is done: the message is gone."""
        self._must_hold(await self._queue.acknowledge(self.id, self.token))

    async def nack(self, *, visibility_timeout: float = 0.0, reason: str = "given back") -> None:
        """The work is not done: the message goes to the tail, `visibility_timeout` seconds from now.

        After its last delivery it goes to the dead letters, with the reason.
        """
        delay_s = check_delay(visibility_timeout, "visibility_timeout")
        self._must_hold(await self._queue.give_back(self.id, self.token, delay_s=delay_s, reason=_kept(reason)))

    async def postpone(self, delay_s: float) -> None:
        """The work could not even begin: the message comes again after so many seconds, this delivery not counted."""
        self._must_hold(await self._queue.undo(self.id, self.token, delay_s=check_delay(delay_s, "delay_s")))

    async def extend(self, visibility_timeout: float) -> None:
        """Hold the lease for at least so many seconds from now; it never gets shorter."""
        timeout_s = check_visibility(visibility_timeout)
        self._must_hold(await self._queue.extend(self.id, self.token, timeout_s=timeout_s))

    async def reject(self, reason: str) -> None:
        """The work can never be done: the message goes to the dead letters now."""
        self._must_hold(await self._queue.bury(self.id, self.token, reason=_kept(reason)))

    async def reply(self, result: ReplyT) -> bool:
        """Send a result to who asked; False when nobody did, or has not fetched so many that no more are kept.

        A requester that is gone is no failure of the work: reply, then acknowledge.
        """
        if self._replies is None:
            raise ValidationFailed("this mailbox was opened without a type of replies")
        body = self._replies.encode(result)
        return self.reply_to is not None and await self._queue.reply(self.reply_to, body, in_reply_to=self.id)

    def _must_hold(self, is_held: bool) -> None:
        if not is_held:
            raise LeaseLost(details={"messageId": self.id, "token": self.token})


def _kept(reason: str) -> str:
    """The beginning of a reason, as text that any store takes."""
    return reason[:_LONGEST_REASON].encode("utf-8", "replace").decode()
