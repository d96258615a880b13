"""MessageQueue: one mailbox's messages in a store, bodies as JSON; SQLite and Redis implement it."""

import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from uhlp.errors import MailboxFull, ValidationFailed

_NAME = re.compile(r"[a-z0-9][A-Za-z0-9._:-]{0,199}")
_REPLY, _DEAD = "reply:", ":dead"
_LONGEST_S = 30 * 86_400.0
MOST_RECEIVED = 100
"""Messages of one `receive`."""
MOST_LISTED = 1_000
"""Dead letters of one answer."""


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """The same for all who open one name.

    `capacity` and `total_bytes` (of their bodies) bound messages that wait or are worked on, and the dead letters for
    themselves. A reply queue goes as a whole when nobody has put into it or asked it for `reply_ttl_s`.
    """

    capacity: int = 10_000
    max_deliveries: int = 5
    reply_ttl_s: float = 3_600.0
    body_bytes: int = 1024 * 1024
    total_bytes: int = 128 * 1024 * 1024

    def __post_init__(self) -> None:
        counts = (self.capacity, self.max_deliveries, self.body_bytes, self.total_bytes)
        if min(counts) < 1 or not 0 < self.reply_ttl_s <= _LONGEST_S:
            raise ValidationFailed("capacity, max_deliveries, body_bytes, total_bytes and reply_ttl_s must be above 0")


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message under a fresh lease. `reply_to` and `in_reply_to` are empty where there is none."""

    id: str
    token: int
    delivery_count: int
    body: bytes
    enqueued_at: float
    reply_to: str
    in_reply_to: str


@dataclass(frozen=True, slots=True)
class MailboxCounts:
    """How many messages are in each place; what was acknowledged is in none."""

    ready: int
    leased: int
    delayed: int
    dead: int


class Bell(Protocol):
    """Rings when something changed that lets a message become ready."""

    async def wait(self, timeout_s: float) -> None:
        """Return when it rang, or when the time is over."""
        ...


class MessageQueue(Protocol):
    """Each call is one atomic step that first judges, by the store's one clock, which delays and leases are over:
    those messages go to the tail in the order of their times, or to the dead letters after their last delivery.

    Raises MailboxUnavailable when the store is down. Steps under a lease return False when it is lost.
    """

    longest_wait_s: float
    """How long to wait for the bell at most: it may have been missed, or rung in another process."""

    async def put(self, body: bytes, *, delay_s: float, reply_to: str) -> str:
        """Add a message at the tail, or after a delay; its id. MailboxFull: nothing was added."""
        ...

    async def take(self, most: int, *, timeout_s: float) -> tuple[list[Delivery], float]:
        """Lease what stands first; and, if nothing was ready, the seconds until a delay or a lease ends."""
        ...

    async def acknowledge(self, message_id: str, token: int) -> bool: ...

    async def give_back(self, message_id: str, token: int, *, delay_s: float, reason: str) -> bool:
        """To the tail, after a delay; after the last delivery to the dead letters."""
        ...

    async def extend(self, message_id: str, token: int, *, timeout_s: float) -> bool: ...

    async def bury(self, message_id: str, token: int, *, reason: str) -> bool:
        """To the dead letters."""
        ...

    async def undo(self, message_id: str, token: int, *, delay_s: float = 0.0) -> bool:
        """To the head, or after a delay to the tail, as if it had not been delivered."""
        ...

    async def reply(self, to: str, body: bytes, *, in_reply_to: str) -> bool:
        """Add a message to a reply queue; False when it is full."""
        ...

    async def counts(self) -> MailboxCounts: ...

    async def dead(self, most: int) -> list[tuple[Delivery, str, float]]:
        """The oldest dead letters (token 0), each with its reason and its time."""
        ...

    async def revive(self, message_id: str) -> bool:
        """Put a dead letter at the tail, its deliveries forgotten; False when there is none, MailboxFull when full."""
        ...

    async def purge_dead(self) -> int:
        """Remove all dead letters; how many there were."""
        ...

    def beside(self, name: str) -> "MessageQueue":
        """The queue of another mailbox in the same store, within the same limits."""
        ...

    async def clear(self) -> int:
        """Remove all messages, wherever they are; how many there were. Leases on them are lost."""
        ...

    def bell(self) -> AbstractAsyncContextManager[Bell]:
        """What rings from when it is entered until it is left."""
        ...

    async def ring(self) -> None:
        """Wake who waits in this process."""
        ...


def check_name(name: Any) -> str:
    """A name of a mailbox; `<name>:dead` is the place of its dead letters, no mailbox."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith(_DEAD) or name == _REPLY:
        raise ValidationFailed(
            "a mailbox is named by a small letter or digit and up to 199 of A-Z a-z 0-9 . _ : -, and not `…:dead`"
        )
    return name


def check_reply_name(name: str) -> str:
    """A name that replies may go to: `reply:<process>`."""
    if not is_reply_name(check_name(name)):
        raise ValidationFailed(f"replies go to `reply:<process>`, not to {name}")
    return name


def is_reply_name(name: str) -> bool:
    return name.startswith(_REPLY)


def dead_name(name: str) -> str:
    """Where the dead letters of a mailbox are."""
    return name + _DEAD


def full(name: str, limits: QueueLimits) -> MailboxFull:
    return MailboxFull(
        f"the mailbox {name} holds as many messages or dead letters as it may, {limits.capacity} of them or"
        f" {limits.total_bytes} bytes;"
        " send again when some are done, and see to its dead letters",
        details={"mailbox": name},
        retry_after_s=1.0,
    )


def check_delay(seconds: float, what: str) -> float:
    """Seconds from now, up to 30 days."""
    if not 0 <= seconds <= _LONGEST_S:
        raise ValidationFailed(f"{what} must be from 0 to {_LONGEST_S:.0f} seconds")
    return float(seconds)


def check_visibility(seconds: float) -> float:
    """How long a lease lasts."""
    if not 0.001 <= seconds <= _LONGEST_S:
        raise ValidationFailed(f"visibility_timeout must be from 0.001 to {_LONGEST_S:.0f} seconds")
    return float(seconds)


def check_most(most: int, limit: int) -> int:
    """How many are asked for at once."""
    if not 1 <= most <= limit:
        raise ValidationFailed(f"ask for 1 to {limit} messages at once")
    return most
