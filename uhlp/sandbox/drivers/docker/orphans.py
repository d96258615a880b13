"""Orphans: containers with our label that no sandbox owns any more, and the removal of those that have ended."""

from collections.abc import Set

import structlog

from uhlp.clock import Clock
from uhlp.errors import UhlpError
from uhlp.sandbox.drivers.docker.container import EXPIRES_LABEL, INSTANCE_LABEL, SANDBOX_LABEL
from uhlp.sandbox.drivers.docker.engine import ContainerFacts, Engine

_log = structlog.get_logger(__name__)


async def living(engine: Engine, instance: str) -> set[str]:
    """The sandboxes of an instance that have a running container."""
    found = await engine.list_labelled(f"{INSTANCE_LABEL}={instance}")
    return {_sandbox_of(each) for each in found if each.is_running}


class Orphans:
    """Judges by the engine's list of now; all it remembers is since when it has seen a container that nobody knows."""

    def __init__(self, *, engine: Engine, instance: str, grace_s: float, clock: Clock) -> None:
        self._engine = engine
        self._instance = instance
        self._grace_s = grace_s
        self._clock = clock
        self._unowned_since_s: dict[str, float] = {}
        self._to_remove: set[str] = set()

    async def remove(self, name: str) -> None:
        """End and remove a container; when the engine does not answer or refuses, the next sweep does. Never raises."""
        try:
            await self._engine.remove(name)
        except UhlpError as error:
            self._to_remove.add(name)
            _log.warning("container_not_removed", container=name, reason=error.message)

    async def remove_all(self) -> None:
        """What a dead server left behind: whoever holds the data directory knows that it is dead."""
        for each in await self._engine.list_labelled(f"{INSTANCE_LABEL}={self._instance}"):
            await self._remove_orphan(each, "its server has ended")

    async def sweep(self, known: Set[str]) -> None:
        """Remove what is marked for it, what nobody has owned for the grace time, and whatever has expired, but
        for what is known here."""
        for name in list(self._to_remove):
            self._to_remove.discard(name)
            await self.remove(name)
        now_s = self._clock.monotonic()
        found = await self._engine.list_labelled(INSTANCE_LABEL)
        unowned = {each.name for each in found if self._is_ours(each) and _sandbox_of(each) not in known}
        self._unowned_since_s = {name: self._unowned_since_s.get(name, now_s) for name in unowned}
        for each in found:
            if self._has_expired(each) and (each.name in unowned or not self._is_ours(each)):
                await self._remove_orphan(each, "it has expired")
            elif each.name in unowned and now_s - self._unowned_since_s[each.name] >= self._grace_s:
                await self._remove_orphan(each, "nobody owns it")

    def _is_ours(self, each: ContainerFacts) -> bool:
        return each.labels.get(INSTANCE_LABEL) == self._instance

    def _has_expired(self, each: ContainerFacts) -> bool:
        stated = each.labels.get(EXPIRES_LABEL, "")
        return stated.isdecimal() and int(stated) < self._clock.now()

    async def _remove_orphan(self, each: ContainerFacts, reason: str) -> None:
        _log.warning("orphaned_container_removed", container=each.name, reason=reason)
        await self.remove(each.container_id)


def _sandbox_of(each: ContainerFacts) -> str:
    return each.labels.get(SANDBOX_LABEL, each.name)
