"""PoolSet: every pool of the server, brought towards those that the applications in service need."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import ShuttingDown
from uhlp.metering import Meter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import Identity
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver, Group
from uhlp.sandbox.instruments import SandboxInstruments
from uhlp.sandbox.pool import SandboxPool

_log = structlog.get_logger(__name__)
PoolKey = tuple[str, ...]
DesiredPools = Callable[[], Iterable[tuple[str, PoolDefinition]]]
"""The (application, pool) pairs that should be ready to serve now."""

RunsCode = Callable[[str, Identity], bool]
"""Whether the application runs this code in service now."""


class PoolSet:
    """A pool stands from its first use, or from the cycle in which a minimum or a first worker is due."""

    def __init__(
        self,
        *,
        driver: Driver,
        config: SandboxSettings,
        clock: Clock,
        meter: Meter,
        desired: DesiredPools,
        runs_code: RunsCode,
    ) -> None:
        self._driver = driver
        self._config = config
        self._clock = clock
        self._instruments = SandboxInstruments(meter)
        self._desired = desired
        self._runs_code = runs_code
        self._pools: dict[PoolKey, SandboxPool] = {}
        self._warmed: set[PoolKey] = set()
        self._known: set[PoolKey] = set()
        """Pools that were desired at some time, and those of code on trial for them."""
        self._is_closing = False

    def __iter__(self) -> Iterator[SandboxPool]:
        return iter(list(self._pools.values()))

    def of(self, app_id: str, definition: PoolDefinition, group: Group) -> SandboxPool:
        """The pool, made when it is not there, with the numbers of this definition. Raises ShuttingDown."""
        if self._is_closing:
            raise ShuttingDown()
        key = pool_key(app_id, definition, group)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = SandboxPool(
                app_id=app_id,
                definition=definition,
                group=group,
                driver=self._driver,
                settings=self._config,
                clock=self._clock,
                instruments=self._instruments,
            )
        elif pool.definition is not definition:
            pool.apply(definition)
        return pool

    def definition(self, app_id: str, pool_name: str) -> PoolDefinition | None:
        """The desired pool of this name."""
        for desired_app_id, definition in self._desired():
            if desired_app_id == app_id and definition.pool_name == pool_name:
                return definition
        return None

    async def run_cycle(self) -> None:
        """Bring every pool towards what is desired: minimum kept while serving, idle and unfit workers ended; those of
        a pool that is desired no more end with their calls.

        A pool that nobody has used gets one worker, once, so that its first request need not wait for a sandbox. One
        whose starts fail is kept and tried again, so that the application recovers by itself.
        """
        desired = {pool_key(*each, "serving"): each for each in self._desired()}
        wanted = desired.keys() | {pool_key(*each, "trial") for each in desired.values()}
        for key, (app_id, definition) in desired.items():
            if key in self._pools or definition.min_instances > 0:
                self.of(app_id, definition, "serving")
        self._known = wanted | (self._known & self._pools.keys())
        pools = list(self._pools.items())
        for _, pool in pools:
            pool.crash_loops.keep(partial(self._runs_code, pool.app_id))
        await self._each(
            [pool for _, pool in pools],
            (pool.reconcile(*self._wish(key, desired, wanted)) for key, pool in pools),
        )
        for key, pool in pools:
            is_kept = key in desired and pool.problems()
            # A pool can become unused while others are reconciled: its own next cycle stops its sandbox first.
            is_over = pool.is_unused(*self._wish(key, desired, wanted)) and not pool.source.sandboxes
            if not is_kept and is_over and self._pools.get(key) is pool:
                del self._pools[key]
        await self._warm_up(desired)

    async def _each(self, pools: Sequence[SandboxPool], work: Iterable[Coroutine[Any, Any, None]]) -> None:
        """Do it for all pools at once; one that fails is told of and keeps no other from it."""
        for pool, result in zip(pools, await asyncio.gather(*work, return_exceptions=True), strict=True):
            if isinstance(result, Exception):
                name = pool.definition.pool_name
                _log.error("pool_upkeep_failed", app_id=pool.app_id, pool=name, group=pool.group, exc_info=result)
            elif isinstance(result, BaseException):
                raise result

    def _wish(
        self, key: PoolKey, desired: Mapping[PoolKey, tuple[str, PoolDefinition]], wanted: set[PoolKey]
    ) -> tuple[int, bool]:
        """How many workers the pool shall have at least, and whether any. A pool that never was desired was asked for
        by a caller of its own, and stays until it idles."""
        minimum = desired[key][1].min_instances if key in desired else 0
        return minimum, key in wanted or key not in self._known

    async def _warm_up(self, desired: Mapping[PoolKey, tuple[str, PoolDefinition]]) -> None:
        self._warmed &= desired.keys()
        for key, (app_id, definition) in desired.items():
            if key not in self._pools and key not in self._warmed and len(self._warmed) < self._config.warm_pools:
                self._warmed.add(key)
                pool = self.of(app_id, definition, "serving")
                await self._each([pool], [pool.reconcile(1)])  # one by one: requests come first

    async def close(self, is_meant: Callable[[SandboxPool], bool]) -> None:
        """Drain some pools, then end them."""
        keys = [key for key, pool in self._pools.items() if is_meant(pool)]
        pools = [self._pools.pop(key) for key in keys]
        await self._each(pools, (pool.close(self._config.drain_s) for pool in pools))

    async def close_all(self) -> None:
        """Drain all; no pool is made any more."""
        self._is_closing = True
        await self.close(lambda pool: True)


def pool_key(app_id: str, definition: PoolDefinition, group: Group) -> PoolKey:
    """Everything that cannot change after a sandbox's start; the other numbers are exchanged in place."""
    limits = definition.resource_limits
    return (
        app_id,
        group,
        definition.pool_name,
        definition.docker_image,
        limits.cpu_limit,
        limits.memory_limit,
        definition.network,
        *definition.volume_mounts,
    )
