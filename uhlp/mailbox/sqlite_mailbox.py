"""SqliteMailbox: the embedded mailbox; InMemoryMailbox: the same, gone with its process."""

from typing import Any, TypeVar

from uhlp.clock import Clock
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.message_queue import QueueLimits, check_name
from uhlp.mailbox.sqlite_queue import SqliteQueue

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")


class SqliteMailbox(Mailbox[BodyT, ReplyT]):
    """Mailboxes of one file reach each other's reply queues."""

    def __init__(
        self,
        *,
        name: str,
        body: type[BodyT],
        reply: type[ReplyT] | None = None,
        file: MailboxFile,
        limits: QueueLimits | None = None,
    ) -> None:
        limits = limits or QueueLimits()
        queue = SqliteQueue(check_name(name), file=file, limits=limits)
        super().__init__(name=name, body=body, reply=reply, queue=queue, limits=limits)


class InMemoryMailbox(SqliteMailbox[BodyT, ReplyT]):
    """With `beside`, in the memory of another one, so that replies find their way."""

    def __init__(
        self,
        *,
        name: str,
        body: type[BodyT],
        reply: type[ReplyT] | None = None,
        clock: Clock | None = None,
        beside: "InMemoryMailbox[Any, Any] | None" = None,
        limits: QueueLimits | None = None,
    ) -> None:
        self._file: MailboxFile = beside._file if beside is not None else MailboxFile(":memory:", clock=clock)
        super().__init__(name=name, body=body, reply=reply, file=self._file, limits=limits)

    async def aclose(self) -> None:
        """Close, and let go of the memory and what is in it."""
        await self.close()
        await self._file.aclose()
