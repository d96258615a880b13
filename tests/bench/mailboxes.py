"""Messages a second that are sent, received and acknowledged: `python -m tests.bench.mailboxes [messages]`."""

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from tests.bench.state import redis_server
from uhlp.errors import MailboxUnavailable
from uhlp.mailbox.mailbox import Mailbox
from uhlp.mailbox.mailbox_file import MailboxFile
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox, SqliteMailbox

Body = dict[str, str]
BODY = {"text": "x" * 200}


async def rate(box: Mailbox[Body, object], messages: int, *, workers: int) -> float:
    """`workers` senders and as many receivers at once, which take up to ten messages."""

    async def produce() -> None:
        for _ in range(messages // workers):
            await box.send(BODY)

    done = 0

    async def consume() -> None:
        nonlocal done
        while done < messages // workers * workers:
            for message in await box.receive(max_messages=10, wait_time_seconds=0.2):
                await message.acknowledge()
                done += 1

    started = perf_counter()
    await asyncio.gather(*(produce() for _ in range(workers)), *(consume() for _ in range(workers)))
    return messages / (perf_counter() - started)


async def _measure(folder: Path, messages: int) -> dict[str, float]:
    figures: dict[str, float] = {}

    async def both(name: str, box: Mailbox[Body, object]) -> None:
        for workers in (1, 8):
            figures[f"{name}, {workers} senders and receivers, messages/s"] = await rate(box, messages, workers=workers)

    memory: InMemoryMailbox[Body, object] = InMemoryMailbox(name="bench", body=dict[str, str])
    await both("memory", memory)
    await memory.aclose()
    file = MailboxFile(folder / "mailbox.db")
    await both("sqlite", SqliteMailbox(name="bench", body=dict[str, str], file=file))
    await file.aclose()
    if shutil.which("redis-server") is not None:
        with redis_server(folder) as url:
            client = MailboxRedis(url)
            while True:
                try:
                    await client.ring("up")
                    break
                except MailboxUnavailable:
                    continue
            await both("redis", RedisMailbox(name="bench", body=dict[str, str], client=client))
            await client.aclose()
    return figures


def run(*, messages: int = 2_000) -> dict[str, float]:
    """Measure and print; the figures by their names."""
    with tempfile.TemporaryDirectory(prefix="uhlp-bench-") as folder:
        figures = asyncio.run(_measure(Path(folder), messages))
    for what, figure in figures.items():
        print(f"{what:56}{figure:12,.0f}")
    return figures


if __name__ == "__main__":
    run(messages=int(sys.argv[1]) if len(sys.argv) > 1 else 2_000)
