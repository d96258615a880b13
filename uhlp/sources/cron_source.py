"""CronSource: starts components at the due times of their schedules, each due time once."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from typing import Any

import structlog

from uhlp import strict_json
from uhlp.catalogue import sources
from uhlp.clock import Clock
from uhlp.cron_schedule import CronSchedule
from uhlp.errors import UhlpError
from uhlp.metering import Meter
from uhlp.models.trigger import CronTrigger
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.rfc3339 import rfc3339
from uhlp.sources.app_queue import EVENTS, SourceMessage
from uhlp.sources.app_queues import AppQueues
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.runtime_store import MISSING, RuntimeValue

_MOST_COUNTED = 1_000
"""Skipped times that are counted after an absence; a schedule of minutes has a million in two years."""

_KEPT_S = 30 * 86_400.0
"""So long after its next due time a schedule that nobody has any more is forgotten."""

_CLOCK_WAS_WRONG_S = 86_400.0
"""A schedule that is done until further in the future than this was moved on by a clock that has been put right."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One schedule of one component; `key` is its own in the runtime store, on every server."""

    app_id: str
    component_id: str
    trigger: CronTrigger
    schedule: CronSchedule
    key: str


class CronSource:
    """`run_cycle` looks every second what has become due.

    Up to when a schedule is done stands in the runtime store. Whoever moves that on, by compare-and-set, has the due
    times between: the newest of them goes to the application's EVENTS queue, if it is at most `maxLateS` late; it is
    worked on from there, at least once, by `cronDetails.scheduledAt`. So a due time starts nothing twice, on however
    many servers and after whatever restart; and a clock that is set back starts nothing again. A schedule that is new
    begins with what is due after it was first seen.
    """

    def __init__(
        self,
        *,
        registry: ApplicationRegistry,
        queues: AppQueues,
        values: FrameworkValues,
        clock: Clock,
        meter: Meter,
    ) -> None:
        self._registry = registry
        self._queues = queues
        self._values = values
        self._clock = clock
        self._entries: dict[str, tuple[str, list[_Entry]]] = {}
        self._done: dict[str, RuntimeValue] = {}
        """By key: what this server saw last in the store."""
        self._next: dict[str, float] = {}
        """By key: what is due after that. Finding it takes a tenth of a millisecond, too long for every second."""
        self._runs = sources.CRON_RUNS.on(meter)

    async def run_cycle(self) -> None:
        """Start what is due. One schedule that fails holds up no other; the first error is raised in the end."""
        self._follow()
        failed: Exception | None = None
        for entry in [entry for _, entries in self._entries.values() for entry in entries]:
            try:
                await self._look_at(entry)
            except UhlpError as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _follow(self) -> None:
        """Schedules of the snapshots in service; what is unchanged is not read anew."""
        followed = {}
        for app_id in self._registry.app_ids():
            app = self._registry.snapshot(app_id)
            known = self._entries.get(app_id)
            is_known = known is not None and known[0] == app.revision
            followed[app_id] = known if known and is_known else (app.revision, list(_entries_of(app)))
        self._entries = followed
        keys = {entry.key for _, entries in followed.values() for entry in entries}
        self._done = {key: value for key, value in self._done.items() if key in keys}
        self._next = {key: due for key, due in self._next.items() if key in keys}

    async def _look_at(self, entry: _Entry) -> None:
        """Start what is due of one schedule, unless another server does."""
        moved_on = False
        while not moved_on:
            now = self._clock.now()
            seen = self._done.get(entry.key)
            if seen is not None and seen.value - _CLOCK_WAS_WRONG_S <= now < self._next.get(entry.key, now):
                return
            if seen is None:
                seen = await self._values.get(entry.key)
            if not seen.found:
                moved_on = await self._move_on(entry, MISSING, now)
                continue
            self._done[entry.key] = seen
            if seen.value - now > _CLOCK_WAS_WRONG_S:
                log.warning("cron_clock_set_back", app_id=entry.app_id, component_id=entry.component_id)
                moved_on = await self._move_on(entry, seen, now)
            else:
                # After an absence of days it counts hundreds of times, which takes 50 to 90 ms.
                due, skipped = await asyncio.to_thread(_newest_due, entry, seen.value, now)
                if due is None:
                    self._next[entry.key] = entry.schedule.next_after(seen.value) or inf
                    return
                moved_on = await self._move_on(entry, seen, due)
                if moved_on:
                    await self._start_or_skip(entry, seen, due, skipped)

    async def _start_or_skip(self, entry: _Entry, before: RuntimeValue, due: float, skipped: int) -> None:
        """`due` is this server's to start; `before` is put back where it cannot be."""
        if self._clock.now() - due > entry.trigger.max_late_s:
            skipped += 1
        else:
            try:
                await self._start(entry, due)
            except BaseException:
                await self._values.compare_and_set(entry.key, self._done.pop(entry.key), before.value)
                raise
            self._runs.labels(entry.app_id, entry.component_id, "started").inc()
        if skipped:
            log.warning("cron_skipped", app_id=entry.app_id, component_id=entry.component_id, times=skipped)
            self._runs.labels(entry.app_id, entry.component_id, "skipped").inc(skipped)

    async def _move_on(self, entry: _Entry, seen: RuntimeValue, to: float) -> bool:
        """Whether it was this server that moved the schedule on; another one may have, and is read anew."""
        following = entry.schedule.next_after(to) or to
        self._next.pop(entry.key, None)
        value = RuntimeValue(found=True, value=to)
        keep_s = max(following - self._clock.now(), 0.0) + _KEPT_S
        if await self._values.compare_and_set(entry.key, seen, to, ttl_seconds=keep_s):
            self._done[entry.key] = value
            return True
        self._done.pop(entry.key, None)
        return False

    async def _start(self, entry: _Entry, due: float) -> None:
        details: dict[str, Any] = {
            "schedule": entry.trigger.schedule,
            "timezone": entry.trigger.timezone,
            "scheduledAt": rfc3339(due),
        }
        message = SourceMessage(
            source="cron", component_id=entry.component_id, input=entry.trigger.input, details=details
        )
        await self._queues.send(self._queues.queue(entry.app_id, EVENTS), message)


def _entries_of(app: Any) -> Iterator[_Entry]:
    for component_id, component in app.components.items():
        for trigger in component.definition.triggers:
            if isinstance(trigger, CronTrigger):
                what = [component_id, trigger.schedule, trigger.timezone, trigger.input]
                key = f"cron:{app.app_id}:{sha256(strict_json.canonical(what)).hexdigest()[:32]}"
                schedule = CronSchedule(trigger.schedule, trigger.timezone)
                yield _Entry(app.app_id, component_id, trigger, schedule, key)


def _newest_due(entry: _Entry, done: float, now: float) -> tuple[float | None, int]:
    """The newest time that is due after `done`, and how many others there were before it."""
    times = 0
    newest = None
    at = done
    while times <= _MOST_COUNTED and (following := entry.schedule.next_after(at)) is not None and following <= now:
        newest, at, times = following, following, times + 1
    if newest is None:
        return None, 0
    if times > _MOST_COUNTED:  # too many to go through: from here on only those that are not too late
        at = max(newest, now - entry.trigger.max_late_s)
        while (following := entry.schedule.next_after(at)) is not None and following <= now:
            newest, at = following, following
    return newest, times - 1
