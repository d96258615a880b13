"""SandboxManager: pools of workers, and the one way to execute in them (seed 003 §3.2)."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import InternalError, ShuttingDown, UhlpError
from uhlp.metering import Meter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import CallTool, Identity, LaneName, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Capabilities, Driver, Group
from uhlp.sandbox.instruments import SandboxInstruments
from uhlp.sandbox.pool import SandboxPool

PoolKey = tuple[str, ...]
DesiredPools = Callable[[], Iterable[tuple[str, PoolDefinition]]]
"""The (application, pool) pairs that should be ready to serve now."""


class AllocationStatus(StrEnum):
    ALLOCATED = "ALLOCATED"
    NO_INSTANCE_AVAILABLE = "NO_INSTANCE_AVAILABLE"
    POOL_NOT_FOUND = "POOL_NOT_FOUND"


@dataclass(slots=True, kw_only=True)
class AllocateSandboxRequest:
    """Seed 003 §3.2.6. `pool` spares the look-up by name; the lane says what the instance is for.

    A handler's instance serves one `identity`; without one it has served nothing before and ends when it is released.
    """

    app_id: str
    required_pool_name: str
    pool: PoolDefinition | None = None
    group: Group = "serving"
    lane: LaneName = "handler"
    identity: Identity | None = None
    fresh: bool = False
    timeout_s: float = 30.0


@dataclass(slots=True, kw_only=True)
class AllocateSandboxResponse:
    """`instance_id` names the worker (the seed's containerId; it has a channel instead of a network address)."""

    status: AllocationStatus
    instance_id: str | None = None
    instance: WorkerClient | None = None
    error: UhlpError | None = None


@dataclass(slots=True, kw_only=True)
class ReleaseSandboxRequest:
    instance_id: str


class SandboxManager:
    """Owns every pool; open once, close once. `run_cycle` reconciles them with the desired pools."""

    def __init__(
        self,
        *,
        driver: Driver,
        config: SandboxSettings,
        clock: Clock,
        meter: Meter,
        desired: DesiredPools = tuple,
    ) -> None:
        self._driver = driver
        self._config = config
        self._clock = clock
        self._instruments = SandboxInstruments(meter)
        self._desired = desired
        self._pools: dict[PoolKey, SandboxPool] = {}
        self._warmed: set[PoolKey] = set()
        self._allocated: dict[str, tuple[SandboxPool, WorkerClient]] = {}
        self._capabilities: Capabilities | None = None
        self._closing = False

    async def open(self) -> None:
        """Probe the machine; sandboxes start at first need, or at the first cycle where a minimum is asked for."""
        self._capabilities = await self._driver.open()

    async def close(self) -> None:
        """Drain, then end every sandbox; nothing is left running."""
        self._closing = True
        await self._close_pools(list(self._pools))
        await self._driver.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the driver can promise on this machine."""
        if self._capabilities is None:
            raise InternalError("The sandbox manager is not open.")
        return self._capabilities

    async def execute(
        self,
        app_id: str,
        pool: PoolDefinition,
        request: dict[str, Any],
        *,
        artifacts: Mapping[str, bytes],
        call_tool: CallTool | None,
        timeout_s: float,
        group: Group,
        fresh: bool = False,
    ) -> dict[str, Any]:
        """Run an ExecuteRequest body on a worker of the pool; the checked ExecuteResponse body.

        `artifacts` holds by sha256 what the request's task names; `call_tool` answers the execution's tool calls;
        `timeout_s` covers waiting and running and is kept by killing. `fresh` takes a new worker that ends afterwards.
        Raises NoSandboxAvailable, IsolationRefused, ShuttingDown (nothing ran); DeadlineExceeded, SandboxDied,
        SandboxOutOfMemory, OutputInvalid, PayloadTooLarge, ExecutionFailed.
        """
        deadline_s = self._clock.monotonic() + timeout_s
        context = request["context"]
        lane: LaneName = "handler"
        identity: Identity | None = None
        if context["handlerType"] == "LLM":
            lane = "model"  # templates are the owner's: no generated code runs there
        else:
            identity = (context["componentId"], context["task"]["artifact"]["sha256"])
        workers = self._pool(app_id, pool, group)
        worker = workers.take(lane, identity, fresh=fresh)
        if worker is None:
            worker = await workers.wait(lane, identity, fresh=fresh, timeout_s=timeout_s)
        try:
            return await worker.execute(
                request,
                artifacts=artifacts,
                call_tool=call_tool,
                timeout_s=deadline_s - self._clock.monotonic(),
            )
        finally:
            workers.release(worker)

    async def allocate_sandbox(self, request: AllocateSandboxRequest) -> AllocateSandboxResponse:
        """Claim a worker; each claim is released once. Waits in order of arrival for at most `timeout_s`."""
        definition = request.pool or self._definition(request.app_id, request.required_pool_name)
        if definition is None:
            return AllocateSandboxResponse(status=AllocationStatus.POOL_NOT_FOUND)
        try:
            pool = self._pool(request.app_id, definition, request.group)
            fresh = request.fresh or (request.lane == "handler" and request.identity is None)
            worker = pool.take(request.lane, request.identity, fresh=fresh)
            if worker is None:
                worker = await pool.wait(request.lane, request.identity, fresh=fresh, timeout_s=request.timeout_s)
        except UhlpError as error:
            return AllocateSandboxResponse(status=AllocationStatus.NO_INSTANCE_AVAILABLE, error=error)
        self._allocated[worker.instance_id] = (pool, worker)
        return AllocateSandboxResponse(
            status=AllocationStatus.ALLOCATED, instance_id=worker.instance_id, instance=worker
        )

    def release_sandbox(self, request: ReleaseSandboxRequest) -> None:
        """Give a claim back; an instance that is not claimed is ignored."""
        claimed = self._allocated.get(request.instance_id)
        if claimed is None:
            return
        pool, worker = claimed
        pool.release(worker)
        if worker.in_flight == 0:
            self._allocated.pop(request.instance_id, None)

    async def run_cycle(self) -> None:
        """Bring every pool towards what is desired: minimum kept while serving, idle and worn workers ended.

        A pool that nobody has used gets one worker, once, so that its first request need not wait for a sandbox.
        """
        minimum: dict[PoolKey, int] = {}
        desired = list(self._desired())
        for app_id, definition in desired:
            if definition.min_instances > 0:
                self._pool(app_id, definition, "serving")
                minimum[self._pool_key(app_id, definition, "serving")] = definition.min_instances
        pools = list(self._pools.items())
        await asyncio.gather(*(pool.reconcile(minimum.get(key, 0)) for key, pool in pools))
        for key, pool in pools:
            if key not in minimum and pool.is_unused() and self._pools.get(key) is pool:
                del self._pools[key]
        await self._warm_up({self._pool_key(*each, "serving"): each for each in desired})

    async def _warm_up(self, desired: Mapping[PoolKey, tuple[str, PoolDefinition]]) -> None:
        self._warmed &= desired.keys()
        for key, (app_id, definition) in desired.items():
            if key not in self._pools and key not in self._warmed and len(self._warmed) < self._config.warm_pools:
                self._warmed.add(key)
                await self._pool(app_id, definition, "serving").reconcile(1)  # one by one: requests come first

    async def stop_application(self, app_id: str) -> None:
        """End every sandbox of the application; calls in flight may finish within the drain time."""
        await self._close_pools([key for key in self._pools if key[0] == app_id])

    def status(self) -> list[dict[str, Any]]:
        """One entry per pool, for GET /admin/v1/sandboxes."""
        isolation = self.capabilities.isolation
        return [{**pool.status(), "isolation": isolation} for pool in self._pools.values()]

    async def _close_pools(self, keys: list[PoolKey]) -> None:
        pools = [self._pools.pop(key) for key in keys]
        await asyncio.gather(*(pool.close(self._config.drain_s) for pool in pools))

    def _definition(self, app_id: str, pool_name: str) -> PoolDefinition | None:
        for desired_app_id, definition in self._desired():
            if desired_app_id == app_id and definition.pool_name == pool_name:
                return definition
        return None

    def _pool(self, app_id: str, definition: PoolDefinition, group: Group) -> SandboxPool:
        if self._closing:
            raise ShuttingDown()
        key = self._pool_key(app_id, definition, group)
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
        pool.definition = definition
        return pool

    @staticmethod
    def _pool_key(app_id: str, definition: PoolDefinition, group: Group) -> PoolKey:
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
