"""Each due time of a schedule starts its component once, whatever servers and clocks do."""

import asyncio
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.evolution.world import CountingMeter
from tests.unit.sources.conftest import APP, Shop, component
from tests.unit.web import fakes
from uhlp.clock import FakeClock
from uhlp.errors import MailboxUnavailable, RuntimeStoreUnavailable
from uhlp.mailbox.config import MailboxSettings
from uhlp.mailbox.mailboxes import Mailboxes
from uhlp.models.definition import ComponentDefinition
from uhlp.registry.snapshot import AppSnapshot
from uhlp.sources.app_queue import EVENTS, AppQueue, SourceMessage
from uhlp.sources.app_queues import AppQueues
from uhlp.sources.cron_source import CronSource
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.runtime_store import RuntimeValue
from uhlp.state.sqlite_runtime_store import SqliteRuntimeStore
from uhlp.tracing import TraceContext

HOURLY = {"source": "cron", "schedule": "0 * * * *", "input": {"text": "tick"}, "maxLateS": 600}
START = datetime.fromisoformat("2026-03-01T10:30:00Z").timestamp()


def at(clock: FakeClock, time: str) -> None:
    """Move the clock on to a time of the first of March 2026."""
    clock.advance(datetime.fromisoformat(f"2026-03-01T{time}Z").timestamp() - clock.now())


async def started(shop: Shop) -> list[str]:
    """Work on what was started; its due times."""
    before = len(shop.asked)
    await shop.work(EVENTS)
    return [request.source_details["scheduledAt"][11:16] for request in shop.asked[before:] if request.source_details]


@pytest.fixture
async def hourly(shop: Shop) -> Shop:
    """Registered at half past ten, and seen."""
    at(shop.clock, "10:30:00")
    await shop.register(component("report", HOURLY))
    await shop.cron.run_cycle()
    return shop


async def test_a_due_time_is_one_request_with_its_details(hourly: Shop) -> None:
    at(hourly.clock, "10:59:59")
    await hourly.cron.run_cycle()
    assert await started(hourly) == []
    at(hourly.clock, "11:00:00")
    await hourly.cron.run_cycle()
    await hourly.cron.run_cycle()
    assert await started(hourly) == ["11:00"]
    (request,) = hourly.asked
    assert (request.source, request.input) == ("cron", {"text": "tick"})
    assert request.source_details is not None
    assert request.source_details["scheduledAt"] == "2026-03-01T11:00:00.000Z"
    assert request.source_details["schedule"] == "0 * * * *"
    assert request.source_details["deliveryCount"] == 1


async def test_after_a_restart_what_was_due_meanwhile_runs_once_if_it_is_not_too_late(hourly: Shop) -> None:
    at(hourly.clock, "13:05:00")
    await hourly.new_cron().run_cycle()
    assert await started(hourly) == ["13:00"]
    assert hourly.meter.counts["uhlp_cron_runs_total", APP, "report", "skipped"] == 2
    at(hourly.clock, "14:30:00")
    await hourly.new_cron().run_cycle()
    assert await started(hourly) == []
    assert hourly.meter.counts["uhlp_cron_runs_total", APP, "report", "skipped"] == 3
    at(hourly.clock, "15:00:01")
    await hourly.new_cron().run_cycle()
    assert await started(hourly) == ["15:00"]


async def test_of_two_servers_one_starts_it(hourly: Shop) -> None:
    other = hourly.new_cron()
    await other.run_cycle()
    at(hourly.clock, "11:00:00")
    await asyncio.gather(hourly.cron.run_cycle(), other.run_cycle())
    assert await started(hourly) == ["11:00"]
    at(hourly.clock, "12:00:00")
    await other.run_cycle()
    await hourly.cron.run_cycle()
    assert await started(hourly) == ["12:00"]


async def test_a_clock_that_is_set_back_starts_nothing_again(hourly: Shop) -> None:
    at(hourly.clock, "11:00:00")
    await hourly.cron.run_cycle()
    at(hourly.clock, "10:59:00")
    await hourly.cron.run_cycle()
    at(hourly.clock, "11:00:30")
    await hourly.cron.run_cycle()
    assert await started(hourly) == ["11:00"]


async def test_a_clock_that_was_days_ahead_does_not_silence_a_schedule(hourly: Shop) -> None:
    hourly.clock.advance(40 * 86_400)
    await hourly.cron.run_cycle()
    hourly.clock.advance(-40 * 86_400)
    await hourly.cron.run_cycle()
    await started(hourly)
    at(hourly.clock, "11:00:00")
    await hourly.cron.run_cycle()
    assert await started(hourly) == ["11:00"]


class OnceAwayMailboxes(AppQueues):
    """The first message finds no store."""

    is_away = True

    async def send(self, queue: AppQueue, message: SourceMessage, *, trace: TraceContext | None = None) -> str:
        if self.is_away:
            self.is_away = False
            raise MailboxUnavailable
        return await super().send(queue, message, trace=trace)


class OnceAwayValues(FrameworkValues):
    """The first change finds no store."""

    is_away = True

    async def compare_and_set(
        self, key: str, expected: RuntimeValue, value: Any, *, ttl_seconds: float | None = None
    ) -> bool:
        if self.is_away:
            self.is_away = False
            raise RuntimeStoreUnavailable
        return await super().compare_and_set(key, expected, value, ttl_seconds=ttl_seconds)


async def test_a_due_time_that_cannot_be_put_into_the_queue_is_tried_again(hourly: Shop) -> None:
    cron = hourly.new_cron(queues=OnceAwayMailboxes(registry=hourly.registry, mailboxes=hourly.mailboxes))
    at(hourly.clock, "11:00:00")
    with pytest.raises(MailboxUnavailable):
        await cron.run_cycle()
    await cron.run_cycle()
    assert await started(hourly) == ["11:00"]


async def test_a_schedule_that_could_not_be_noted_is_noted_when_the_store_is_back(shop: Shop) -> None:
    at(shop.clock, "10:30:00")
    await shop.register(component("report", HOURLY))
    cron = shop.new_cron(values=OnceAwayValues(shop.runtime))
    with pytest.raises(RuntimeStoreUnavailable):
        await cron.run_cycle()
    await cron.run_cycle()
    at(shop.clock, "11:00:00")
    await cron.run_cycle()
    assert await started(shop) == ["11:00"]


async def test_a_schedule_that_changes_begins_anew(hourly: Shop) -> None:
    changed = component("report", HOURLY | {"schedule": "45 * * * *"})
    registry = json.dumps({"components": [changed]}).encode()
    await hourly.registry.apply_files(APP, {"component_registry.yaml": registry}, message="Later")
    at(hourly.clock, "11:00:00")
    await hourly.cron.run_cycle()
    assert await started(hourly) == []
    at(hourly.clock, "11:45:00")
    await hourly.cron.run_cycle()
    assert await started(hourly) == ["11:45"]


@dataclass(frozen=True)
class Step:
    """Time passes, or runs back; then a server looks, after a restart or not."""

    seconds: float
    server: int
    is_new: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.one_of(st.floats(0.2, 59.0), st.floats(0.2, 59.0), st.floats(60.0, 10_000.0), st.floats(-1_800.0, -0.5)).map(
            lambda seconds: round(seconds, 3)
        ),
        st.integers(0, 1),
        st.booleans(),
    ),
    max_size=40,
)
SCHEDULES = {"often": ("*/1 * * * *", 60, 45), "five": ("*/5 * * * *", 300, 600), "hour": ("0 * * * *", 3_600, 1_800)}
"""By component: the schedule, its period in seconds (they are due at its multiples), maxLateS."""


def office() -> AppSnapshot:
    components = []
    for component_id, (schedule, _, max_late_s) in SCHEDULES.items():
        trigger = {"source": "cron", "schedule": schedule, "maxLateS": max_late_s}
        definition = ComponentDefinition.model_validate({"componentId": component_id, "triggers": [trigger]})
        components.append(replace(fakes.component(component_id, f"/{component_id}", "POST"), definition=definition))
    return replace(fakes.application("office"), components={one.definition.component_id: one for one in components})


class Servers:
    """Two servers on one runtime store, and what they should have started by the rules that are written down."""

    def __init__(self, app: AppSnapshot, clock: FakeClock) -> None:
        self.clock = clock
        self.registry: Any = fakes.SnapshotsOnly({"office": app})
        self.store = SqliteRuntimeStore(":memory:")
        self.mailboxes = Mailboxes.in_file(":memory:", settings=MailboxSettings(), clock=clock)
        self.queues = AppQueues(registry=self.registry, mailboxes=self.mailboxes)
        self.sources = [self.new(), self.new()]
        self.done: dict[str, float] = {}
        self.expected: list[tuple[str, float]] = []

    def new(self) -> CronSource:
        values = FrameworkValues(self.store)
        return CronSource(
            registry=self.registry, queues=self.queues, values=values, clock=self.clock, meter=CountingMeter()
        )

    async def take(self, step: Step) -> None:
        self.clock.advance(step.seconds)
        if step.is_new:
            self.sources[step.server] = self.new()
        await self.sources[step.server].run_cycle()
        now = self.clock.now()
        for component_id, (_, period_s, max_late_s) in SCHEDULES.items():
            done, newest = self.done.get(component_id, now), now // period_s * period_s
            if newest > done:
                if now - newest <= max_late_s:
                    self.expected.append((component_id, newest))
                done = newest
            self.done[component_id] = done

    async def started(self) -> list[tuple[str, float]]:
        box = self.queues.mailbox(self.queues.queue("office", EVENTS))
        found = []
        while messages := await box.receive(max_messages=100, visibility_timeout=600):
            for one in messages:
                scheduled = datetime.fromisoformat(one.body.details["scheduledAt"]).timestamp()
                found.append((str(one.body.component_id), scheduled))
                await one.acknowledge()
        return found

    async def close(self) -> None:
        await self.mailboxes.aclose()
        await self.store.aclose()


@settings(max_examples=120, deadline=None)
@given(st.floats(0, 7_200).map(lambda seconds: round(START + seconds, 3)), STEPS)
def test_every_due_time_starts_once_at_most_and_none_is_missed_by_a_server_that_looks(
    begin: float, steps: list[Step]
) -> None:
    async def play() -> None:
        servers = Servers(office(), FakeClock(begin))
        for step in [Step(0.0, 0, False), *steps]:
            await servers.take(step)
        found = await servers.started()
        await servers.close()
        assert sorted(found) == sorted(servers.expected)
        assert len(set(found)) == len(found)

    asyncio.run(play())
