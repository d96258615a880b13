"""RedisMailbox: a mailbox of several processes on one Redis server."""

from typing import TypeVar

from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.message_queue import QueueLimits, check_name
from uhlp.mailbox.redis_queue import RedisQueue
from uhlp.mailbox.redis_server import MailboxRedis

BodyT = TypeVar("BodyT")
ReplyT = TypeVar("ReplyT")


class RedisMailbox(Mailbox[BodyT, ReplyT]):
    """Mailboxes of one server reach each other's reply queues. As durable as the server: see `appendonly`."""

    def __init__(
        self,
        *,
        name: str,
        body: type[BodyT],
        reply: type[ReplyT] | None = None,
        client: MailboxRedis,
        limits: QueueLimits | None = None,
    ) -> None:
        limits = limits or QueueLimits()
        queue = RedisQueue(check_name(name), server=client, limits=limits)
        super().__init__(name=name, body=body, reply=reply, queue=queue, limits=limits)
