"""Senders and receivers that are killed in the midst lose no message, and none is acknowledged twice."""

import asyncio
import random
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contracts.test_mailbox import server, until_up
from tests.unit.mailbox.mailbox_process import MANY, opened
from uhlp.errors import LeaseLost
from uhlp.mailbox.message_queue import MailboxCounts, QueueLimits
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis

__all__ = ["server"]


def numbers(folder: Path, pattern: str, word: str) -> list[int]:
    """What the processes' logs say with a word."""
    lines = [line.split() for log in folder.glob(pattern) for line in log.read_text().splitlines()]
    return [int(line[1]) for line in lines if line[0] == word]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
async def test_killed_processes_lose_no_message(tmp_path, request, kind: str) -> None:
    store = str(tmp_path / "m.db") if kind == "sqlite" else request.getfixturevalue("server").url
    started = 0

    def start(role: str, first: int = 0) -> subprocess.Popen[bytes]:
        nonlocal started
        started += 1
        module = "tests.unit.mailbox.mailbox_process"
        log = tmp_path / f"{role}-{started}.log"
        return subprocess.Popen([sys.executable, "-m", module, role, store, str(log), str(first)])

    async def until(word: str, pattern: str, many: int) -> None:
        while len(set(numbers(tmp_path, pattern, word))) < many:
            await watching.counts()

    watching, kept = opened(store)
    if isinstance(kept, MailboxRedis):
        await until_up(kept)
    producers = [start("produce", number * 1_000) for number in range(4)]
    consumers = [start("consume") for _ in range(4)]
    try:
        async with asyncio.timeout(120):
            for kills in range(1, 4):
                await until("acknowledged", "consume-*", kills * 20)
                killed = consumers.pop(0)
                killed.kill()
                await asyncio.to_thread(killed.wait)
                consumers.append(start("consume"))
            producers[0].kill()
            for process in producers:
                await asyncio.to_thread(process.wait)
            while await watching.counts() != MailboxCounts(0, 0, 0, 0):
                pass
    finally:
        for process in (*producers, *consumers):
            process.kill()
            process.wait()
        await kept.aclose()
    sending, sent = (set(numbers(tmp_path, "produce-*", word)) for word in ("sending", "sent"))
    begun = set(numbers(tmp_path, "consume-*", "acknowledging"))
    acknowledged = Counter(numbers(tmp_path, "consume-*", "acknowledged"))
    assert len(sent) >= 3 * MANY
    assert sent <= begun <= sending
    assert max(acknowledged.values()) == 1
    assert len(begun) - len(acknowledged) <= 3 + 4  # killed between the acknowledgement and its line


async def test_cancelled_workers_on_redis_lose_no_message(server) -> None:
    client = MailboxRedis(server.url)
    await until_up(client)
    limits = QueueLimits(max_deliveries=1_000)
    box: RedisMailbox[int, int] = RedisMailbox(name=f"work-{uuid4().hex}", body=int, client=client, limits=limits)
    acknowledged: list[int] = []
    maybe: set[int] = set()
    chance = random.Random(7)

    async def produce(first: int) -> None:
        for number in range(first, first + 100):
            await box.send(number)

    async def consume() -> None:
        while True:
            for message in await box.receive(max_messages=3, visibility_timeout=0.1, wait_time_seconds=5):
                maybe.add(message.body)
                with suppress(LeaseLost):
                    await message.acknowledge()
                    acknowledged.append(message.body)

    consumers = [asyncio.ensure_future(consume()) for _ in range(4)]
    producing = asyncio.gather(*(produce(number * 1_000) for number in range(4)))
    async with asyncio.timeout(60):
        while not producing.done() or await box.counts() != MailboxCounts(0, 0, 0, 0):
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            which = chance.randrange(4)
            consumers[which].cancel()
            await asyncio.wait([consumers[which]])
            assert consumers[which].cancelled()
            consumers[which] = asyncio.ensure_future(consume())
            await asyncio.wait(consumers, timeout=0.01)
    for consumer in consumers:
        consumer.cancel()
    await asyncio.wait(consumers)
    await producing
    await client.aclose()
    assert maybe == {first * 1_000 + number for first in range(4) for number in range(100)}
    assert max(Counter(acknowledged).values()) == 1
