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
_Open = Callable[[str, Any, QueueLimits], Mailbox[Any, Any]]


class Mailboxes:
    """Every mailbox that it opens is a new handle, closed by who asked for it; `aclose` lets go of the store."""

    def __init__(self, opened: _Open, store: "MailboxFile | MailboxRedis", *, settings: MailboxSettings) -> None:
        self._opened = opened
        self._store = store
        self._limits = QueueLimits(capacity=settings.capacity, body_bytes=settings.body_bytes)

    @classmethod
    def in_file(cls, path: Path | str, *, settings: MailboxSettings, clock: Clock) -> "Mailboxes":
        """In a SQLite file that no other process uses; `:memory:` for none."""
        file = MailboxFile(path, clock=clock, is_own=True)
        return cls(lambda name, body, limits: SqliteMailbox(name=name, body=body, file=file, limits=limits), file,
                   settings=settings)  # fmt: skip

    @classmethod
    def on_redis(cls, url: str, *, settings: MailboxSettings, timeout_s: float, clock: Clock) -> "Mailboxes":
        """On a Redis server; all servers that name it share its mailboxes."""
        # Its library takes long to load, which a server on SQLite need not wait for.
        from uhlp.mailbox.redis_mailbox import RedisMailbox
        from uhlp.mailbox.redis_server import MailboxRedis

        client = MailboxRedis(url, timeout_s=timeout_s, clock=clock)
        return cls(lambda name, body, limits: RedisMailbox(name=name, body=body, client=client, limits=limits), client,
                   settings=settings)  # fmt: skip

    def open(self, name: str, body: type[BodyT], *, max_deliveries: int) -> Mailbox[BodyT, Any]:
        """A handle on the mailbox of this name."""
        return self._opened(name, body, replace(self._limits, max_deliveries=max_deliveries))

    async def aclose(self) -> None:
        await self._store.aclose()
