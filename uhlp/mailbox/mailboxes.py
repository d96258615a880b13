"""Mailboxes: opens mailboxes by name on one store, so that their users need not know which."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from uhlp.clock import Clock
from uhlp.mailbox.config import MailboxSettings
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.message_queue import QueueLimits
from uhlp.mailbox.sqlite_mailbox import SqliteMailbox

if TYPE_CHECKING:
    from uhlp.mailbox.redis_server import MailboxRedis

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")
_Open = Callable[[str, Any, Any, QueueLimits], Mailbox[Any, Any]]


class Mailboxes:
    """Every mailbox that it opens is a new handle, closed by who asked for it; `aclose` lets go of the store."""

    def __init__(self, opened: _Open, store: "MailboxFile | MailboxRedis", *, settings: MailboxSettings) -> None:
        self._opened = opened
        self._store = store
        self._limits = QueueLimits(
            capacity=settings.capacity, body_bytes=settings.body_bytes, total_bytes=settings.total_bytes
        )

    @classmethod
    def in_file(cls, path: Path | str, *, settings: MailboxSettings, clock: Clock) -> "Mailboxes":
        """In a SQLite file that no other process uses; `:memory:` for none."""
        file = MailboxFile(path, clock=clock, is_own=True)

        def opened(name: str, body: Any, reply: Any, limits: QueueLimits) -> Mailbox[Any, Any]:
            return SqliteMailbox(name=name, body=body, reply=reply, file=file, limits=limits)

        return cls(opened, file, settings=settings)

    @classmethod
    def on_redis(cls, url: str, *, settings: MailboxSettings, timeout_s: float, clock: Clock) -> "Mailboxes":
        """On a Redis server; all servers that name it share its mailboxes."""
        # Its library takes long to load, which a server on SQLite need not wait for.
        from uhlp.mailbox.redis_mailbox import RedisMailbox
        from uhlp.mailbox.redis_server import MailboxRedis

        client = MailboxRedis(url, timeout_s=timeout_s, clock=clock)

        def opened(name: str, body: Any, reply: Any, limits: QueueLimits) -> Mailbox[Any, Any]:
            return RedisMailbox(name=name, body=body, reply=reply, client=client, limits=limits)

        return cls(opened, client, settings=settings)

    def open(
        self, name: str, body: type[BodyT], *, max_deliveries: int, reply: type[ReplyT] | None = None
    ) -> Mailbox[BodyT, ReplyT]:
        """A handle on the mailbox of this name; `reply` is what its messages are answered with."""
        return self._opened(name, body, reply, replace(self._limits, max_deliveries=max_deliveries))

    async def aclose(self) -> None:
        await self._store.aclose()
