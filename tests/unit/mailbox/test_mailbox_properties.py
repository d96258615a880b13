"""Whatever happens to a mailbox, in whatever order: `mailbox_machine` says what holds."""

import asyncio
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test
from redis.asyncio import Redis

from tests.contracts.test_mailbox import server, until_up
from tests.unit.mailbox.mailbox_machine import LIMITS, MailboxMachine, Other, Task
from uhlp.clock import FakeClock
from uhlp.mailbox.redis_mailbox import RedisMailbox
from uhlp.mailbox.redis_server import MailboxRedis
from uhlp.mailbox.sqlite_mailbox import InMemoryMailbox

__all__ = ["server"]

THOUSANDS = settings(max_examples=150, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck))
HUNDREDS = settings(max_examples=20, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck))
AT_LENGTH = settings(max_examples=500, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck))


class InMemoryMachine(MailboxMachine):
    """On SQLite, by a clock that stands still between the steps."""

    async def open(self) -> None:
        self.clock = FakeClock()
        self.box = InMemoryMailbox(name="work", body=Task, clock=self.clock, limits=LIMITS)
        self.others = InMemoryMailbox(name="work", body=Other, beside=self.box, limits=LIMITS)

    async def shut(self) -> None:
        await self.box.aclose()

    async def now(self) -> float:
        return self.clock.now()

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds if seconds < 0.03 else 1_000.0)


class RedisMachine(MailboxMachine):
    """On a Redis server, by its TIME, in microseconds."""

    url = ""
    scale = 1_000_000

    async def open(self) -> None:
        self.client = MailboxRedis(self.url)
        await until_up(self.client)
        self.redis = Redis.from_url(self.url)
        name = f"work-{uuid4().hex}"
        self.box = RedisMailbox(name=name, body=Task, client=self.client, limits=LIMITS)
        self.others = RedisMailbox(name=name, body=Other, client=self.client, limits=LIMITS)

    async def shut(self) -> None:
        await self.client.aclose()
        await self.redis.aclose()

    async def now(self) -> float:
        seconds, microseconds = await self.redis.time()
        return seconds * 1_000_000 + microseconds

    async def pass_time(self, seconds: float) -> None:
        ends_at = await self.now() + self.ticks(seconds)
        async with asyncio.timeout(30):
            while await self.now() < ends_at:
                pass


def test_no_order_of_events_breaks_a_mailbox_in_memory() -> None:
    run_state_machine_as_test(InMemoryMachine, settings=THOUSANDS)


def test_no_order_of_events_breaks_a_mailbox_on_redis(server) -> None:
    run_state_machine_as_test(type("OnThisServer", (RedisMachine,), {"url": server.url}), settings=HUNDREDS)


@pytest.mark.long
def test_no_order_of_events_breaks_a_mailbox_in_memory_at_length() -> None:
    run_state_machine_as_test(InMemoryMachine, settings=AT_LENGTH)
