"""A process that sends or receives on a SQLite file until it is killed: `python -m … produce|consume FILE LOG FIRST`.

It writes a line before and after each step that changes the mailbox, so that who killed it knows what may have been
done. FIRST is the first number of a producer, which sends `MANY`.
"""

import asyncio
import os
import sys
from pathlib import Path

from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.sqlite_mailbox import SqliteMailbox

MANY = 60
LEASE_S = 0.3


async def produce(box: SqliteMailbox[int, int], log: int, first: int) -> None:
    for number in range(first, first + MANY):
        os.write(log, f"sending {number}\n".encode())
        await box.send(number)
        os.write(log, f"sent {number}\n".encode())


async def consume(box: SqliteMailbox[int, int], log: int) -> None:
    while True:
        for message in await box.receive(max_messages=2, visibility_timeout=LEASE_S, wait_time_seconds=5):
            os.write(log, f"acknowledging {message.body}\n".encode())
            await message.acknowledge()
            os.write(log, f"acknowledged {message.body}\n".encode())


def main(role: str, file: str, log: str, first: str) -> None:
    descriptor = os.open(Path(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    box: SqliteMailbox[int, int] = SqliteMailbox(name="work", body=int, file=MailboxFile(file))
    asyncio.run(produce(box, descriptor, int(first)) if role == "produce" else consume(box, descriptor))


if __name__ == "__main__":
    main(*sys.argv[1:])
