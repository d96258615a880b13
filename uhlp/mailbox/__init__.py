"""Mailboxes: messages from any sender to one receiver each, and the loops that work on them (seed 004).

RedisMailbox and its MailboxRedis stand in modules of their own, which load the library of Redis.
"""

from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.mailbox_loop import MailboxLoop
from uhlp.mailbox.mailbox_worker import MailboxWorker, Postpone, Reject, Retry
from uhlp.mailbox.message import DeadLetter, Message
from uhlp.mailbox.message_queue import QueueLimits
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox, SqliteMailbox

__all__ = [
    "DeadLetter",
    "InMemoryMailbox",
    "Mailbox",
    "MailboxFile",
    "MailboxLoop",
    "MailboxWorker",
    "Message",
    "Postpone",
    "QueueLimits",
    "Reject",
    "Retry",
    "SqliteMailbox",
]
