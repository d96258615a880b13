"""MailboxWorker: takes messages one by one and works on each under its lease."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random, SystemRandom
from typing import Any, Generic, Literal, TypeVar

import structlog

from uhlp.backoff import backoff_s
from uhlp.clock import Clock
from uhlp.errors import LeaseLost, MailboxClosed, MailboxUnavailable
from uhlp.mailbox.cancelling import to_its_end
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.message import Message
from uhlp.mailbox.patience import Patience

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")
Outcome = Literal["done", "retried", "postponed", "rejected", "lost"]

FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 1.0, 60.0
_RENEWALS = 3
"""So often is a lease renewed in its time; two may fail."""
_LONGEST_RETRY_S = 86_400.0

log = structlog.get_logger(__name__)


class Retry(Exception):
    """Raised by a handler: deliver the message again, after so many seconds."""

    def __init__(self, after_s: float, reason: str = "to be tried again") -> None:
        super().__init__(reason)
        self.after_s = min(max(after_s, 0.0), _LONGEST_RETRY_S)


class Postpone(Retry):
    """Raised by a handler that could not begin, for no fault of the message: like Retry, and not counted."""


class Reject(Exception):
    """Raised by a handler: the work can never be done; the message becomes a dead letter with this reason."""


class MailboxWorker(Generic[BodyT, ReplyT]):
    """`run_cycle` waits for one message and lets `handle` work on it; a loop of its own repeats it.

    When `handle` returns, the message is acknowledged: a reply is sent before. It may raise Retry, Postpone or Reject;
    after anything else the message comes again in 1, 2, 4 … 60 seconds, less up to half of them by chance, so that what
    failed together does not come together. Why it failed stands in its dead letter and not in the log, which holds
    nothing that a message says. The lease is renewed while `handle` works; where it is lost all the same, someone else
    may have the message, and `handle` is cancelled. `handle` gets a message more than once and is idempotent by its id.
    """

    def __init__(
        self,
        mailbox: Mailbox[BodyT, ReplyT],
        handle: Callable[[Message[BodyT, ReplyT]], Awaitable[object]],
        *,
        clock: Clock,
        visibility_s: float = 30.0,
        count: Callable[[Outcome], object] = lambda outcome: None,
        random: Random | None = None,
    ) -> None:
        self._mailbox = mailbox
        self._handle = handle
        self._clock = clock
        self._visibility_s = visibility_s
        self._count = count
        self._random = random or SystemRandom()
        self._stopped = asyncio.Event()
        self._patience = Patience()

    @property
    def mailbox_name(self) -> str:
        return self._mailbox.name

    def stop(self) -> None:
        """Take no more messages; one that is worked on is worked on to its end."""
        self._stopped.set()

    async def run_cycle(self) -> None:
        """Work on the next message, if one comes within 20 s. Nothing is done in a mailbox that is closed.

        Cancelled during its work, it ends the work and gives the message back at once.
        """
        with self._patience.wait_s() as wait_s, suppress(MailboxClosed):
            for message in await self._received(wait_s):
                self._count(await self._settled(message))

    async def _received(self, wait_s: float) -> list[Message[BodyT, ReplyT]]:
        receiving = asyncio.ensure_future(
            self._mailbox.receive(visibility_timeout=self._visibility_s, wait_time_seconds=wait_s)
        )
        stopped = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({receiving, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if receiving.done():
                return receiving.result()
            return []
        except asyncio.CancelledError:
            if receiving.done() and not receiving.cancelled() and receiving.exception() is None:
                for message in receiving.result():  # it came in the same moment
                    await _given_back(message)
            raise
        finally:
            stopped.cancel()
            if not receiving.done():
                await to_its_end(_ended(receiving))  # what it had taken stands first again

    async def _settled(self, message: Message[BodyT, ReplyT]) -> Outcome:
        """Work on it, and say to the mailbox what came of it."""
        facts = {"mailbox": self._mailbox.name, "message_id": message.id, "delivery": message.delivery_count}
        try:
            try:
                await self._work(message)
            except Postpone as error:
                after_s = error.after_s * (1 + self._random.random() / 2)
                log.info("message_postponed", **facts, after_s=after_s)
                await message.postpone(after_s)
                return "postponed"
            except Retry as error:
                log.info("message_retried", **facts, after_s=error.after_s)
                await message.nack(visibility_timeout=error.after_s, reason=str(error))
                return "retried"
            except Reject as error:
                log.warning("message_rejected", **facts)
                await message.reject(str(error))
                return "rejected"
            except (LeaseLost, MailboxUnavailable):
                raise
            except Exception as error:
                after_s = self._backoff_s(message.delivery_count)
                log.warning("message_failed", **facts, after_s=after_s, error=type(error).__name__)
                await message.nack(visibility_timeout=after_s, reason=f"{type(error).__name__}: {error}")
                return "retried"
            except asyncio.CancelledError:
                await _given_back(message)
                raise
            await message.acknowledge()
        except LeaseLost:
            log.warning("message_lease_lost", **facts)
            return "lost"
        return "done"

    async def _work(self, message: Message[BodyT, ReplyT]) -> None:
        """Let the handler work, and renew the lease beside it. LeaseLost: the handler is cancelled, and has ended."""
        work = asyncio.ensure_future(self._handle(message))
        try:
            held_until = self._clock.monotonic() + self._visibility_s
            while not (await asyncio.wait({work}, timeout=self._visibility_s / _RENEWALS))[0]:
                now = self._clock.monotonic()
                try:
                    await message.extend(self._visibility_s)
                    held_until = now + self._visibility_s
                except MailboxUnavailable:
                    if now >= held_until:
                        raise LeaseLost(details={"messageId": message.id}) from None
        finally:
            if not work.done():
                await to_its_end(_ended(work))
        work.result()

    def _backoff_s(self, deliveries: int) -> float:
        longest = backoff_s(deliveries, first_s=FIRST_BACKOFF_S, longest_s=LONGEST_BACKOFF_S)
        return longest * (1 - self._random.random() / 2)


async def _given_back(message: Message[Any, Any]) -> None:
    with suppress(LeaseLost, MailboxUnavailable, MailboxClosed):
        await to_its_end(message.postpone(0.0))  # no fault of the message


async def _ended(work: "asyncio.Future[Any]") -> None:
    work.cancel()
    await asyncio.wait({work})
    if not work.cancelled():
        work.exception()  # nobody asks for it any more
