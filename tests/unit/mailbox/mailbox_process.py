"""A process that sends or receives until it is killed: `python -m … produce|consume STORE LOG FIRST`.

STORE is the path of a SQLite file or the URL of a Redis server.

It writes a line before and after each step that changes the mailbox, so that who killed it knows what may have been
done. FIRST is the first number of a producer, which sends `MANY`.
"""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

from uhlp.errors import LeaseLost
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.mailbox.sqlite_mailbox import SqliteMailbox

MANY = 60
LEASE_S = 0.3


async def produce(box: Mailbox[int, int], log: int, first: int) -> None:
    for number in range(first, first + MANY):
        os.write(log, f"sending {number}\n".encode())
        await box.send(number)
        os.write(log, f"sent {number}\n".encode())


async def consume(box: Mailbox[int, int], log: int) -> None:
    while True:
        for message in await box.receive(max_messages=2, visibility_timeout=LEASE_S, wait_time_seconds=5):
            os.write(log, f"acknowledging {message.body}\n".encode())
            with suppress(LeaseLost):  # a slow machine: it is another's by now
                await message.acknowledge()
                os.write(log, f"acknowledged {message.body}\n".encode())


def opened(store: str) -> tuple[Mailbox[int, int], MailboxFile | MailboxRedis]:
    """The mailbox of the test, and what to close after it."""
    if store.startswith("redis://"):
        client = MailboxRedis(store)
        return RedisMailbox(name="work", body=int, client=client), client
    file = MailboxFile(store)
    return SqliteMailbox(name="work", body=int, file=file), file


def main(role: str, store: str, log: str, first: str) -> None:
    descriptor = os.open(Path(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    asyncio.run(work(role, store, descriptor, int(first)))


async def work(role: str, store: str, log: int, first: int) -> None:
    box, _ = opened(store)
    await (produce(box, log, first) if role == "produce" else consume(box, log))


if __name__ == "__main__":
    main(*sys.argv[1:])
