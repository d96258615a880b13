"""SandboxManager: pools of workers, and the one way to execute in them (seed 003 §3.2)."""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from uhlp.access.sandbox_tokens import SandboxTokens
from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, NoSandboxAvailable, SandboxNotFound, UhlpError
from uhlp.metering import Meter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.access_issuer import AccessIssuer
from uhlp.sandbox.allocation import (
    AllocateSandboxRequest,
    AllocateSandboxResponse,
    AllocationStatus,
    ReleaseSandboxRequest,
)
from uhlp.sandbox.claims import RETRY_AFTER_S, Claims
from uhlp.sandbox.client import CallTool, Identity, LaneName, NothingRan, WorkerClient
from uhlp.sandbox.command import CommandProcess, CommandSpec
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Capabilities, Driver, Group
from uhlp.sandbox.pool_set import DesiredPools, PoolSet, RunsCode
from uhlp.sandbox.sandbox_view import pool_view, sandbox_views
from uhlp.tracing import TraceContext

log = structlog.get_logger(__name__)

__all__ = [
    "AllocateSandboxRequest",
    "AllocateSandboxResponse",
    "AllocationStatus",
    "ReleaseSandboxRequest",
    "SandboxManager",
]


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
        runs_code: RunsCode = lambda app_id, identity: True,
        tokens: SandboxTokens | None = None,
    ) -> None:
        self._driver = driver
        self._clock = clock
        self._pools = PoolSet(
            driver=driver, config=config, clock=clock, meter=meter, desired=desired, runs_code=runs_code
        )
        self._access = AccessIssuer(server_url=config.server_url, tokens=tokens)
        self._allocated: dict[str, tuple[Claims, WorkerClient]] = {}

    async def open(self) -> None:
        """Probe the machine; sandboxes start at first need, or at the first cycle where a minimum is asked for."""
        await self._driver.open()

    async def close(self) -> None:
        """Drain, then end every sandbox; nothing is left running."""
        await self._pools.close_all()
        await self._driver.close()

    @property
    def capabilities(self) -> Capabilities:
        """What the driver can promise on this machine, once it is open."""
        return self._driver.capabilities

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
        wait_s: float | None = None,
        trace: TraceContext | None = None,
    ) -> dict[str, Any]:
        """Run an ExecuteRequest body on a worker of the pool; the checked ExecuteResponse body.

        `artifacts` holds by sha256 what the request's task names; `call_tool` answers the execution's tool calls;
        `timeout_s` covers waiting (for `wait_s` at most, where it is given) and running, and is kept by killing.
        `fresh` takes a new worker that ends afterwards. `trace` goes out to images that speak HTTP.
        Raises NoSandboxAvailable, IsolationRefused, ShuttingDown (nothing ran; NoSandboxAvailable also when a handler
        was cut off that had waited for longer than it could run); CrashLoop (it crashes every time);
        DeadlineExceeded, SandboxDied, SandboxOutOfMemory, OutputInvalid, PayloadTooLarge, ExecutionFailed.
        """
        began_s = self._clock.monotonic()
        deadline_s = began_s + timeout_s
        give_up_s = deadline_s if wait_s is None else began_s + wait_s
        context = request["context"]
        lane: LaneName = "handler"
        identity: Identity | None = None
        if context["handlerType"] == "LLM":
            lane = "model"  # templates are the owner's: no generated code runs there
        else:
            identity = (context["componentId"], context["task"]["artifact"]["sha256"])
        claims = self._pools.of(app_id, pool, group).claims
        is_last_try = False
        while True:
            worker = claims.take(lane, identity, fresh=fresh)
            if worker is None:
                left_s = give_up_s - self._clock.monotonic()
                worker = await claims.wait(lane, identity, fresh=fresh, timeout_s=left_s)
            failure: UhlpError | None = None
            worker.called_s = self._clock.monotonic()
            left_s = deadline_s - worker.called_s
            try:
                return await worker.execute(
                    request,
                    artifacts=artifacts,
                    call_tool=call_tool,
                    timeout_s=left_s,
                    mcp=self._access.issue(
                        request, app_id=app_id, pool=pool, worker=worker, group=group, timeout_s=left_s
                    ),
                    trace=trace,
                )
            except NothingRan as unreached:
                failure = unreached
                if is_last_try:
                    raise
                is_last_try = True
            except DeadlineExceeded as error:
                failure = error
                if lane == "handler" and left_s < timeout_s / 2:
                    message = f"A sandbox of pool {pool.pool_name} became free too late for the handler to end in time."
                    raise NoSandboxAvailable(message, retry_after_s=RETRY_AFTER_S) from None
                raise
            except UhlpError as error:
                failure = error
                raise
            finally:
                claims.release(worker, failure)

    async def open_command(self, spec: CommandSpec) -> CommandProcess:
        """A command in a throw-away sandbox of its own, which belongs to no pool (see Driver.open_command)."""
        return await self._driver.open_command(spec)

    async def runs_python(self, pool: PoolDefinition) -> bool:
        """Whether handlers in Python and their tests can run in this pool: its image holds our runner.

        Raises ImageUnavailable, EngineUnavailable where that cannot be known now.
        """
        return await self._driver.has_runner(pool.docker_image)

    async def allocate_sandbox(self, request: AllocateSandboxRequest) -> AllocateSandboxResponse:
        """Claim a worker; each claim is released once. Waits in order of arrival for at most `timeout_s`."""
        definition = request.pool or self._pools.definition(request.app_id, request.required_pool_name)
        if definition is None:
            return AllocateSandboxResponse(status=AllocationStatus.POOL_NOT_FOUND)
        try:
            claims = self._pools.of(request.app_id, definition, request.group).claims
            fresh = request.fresh or (request.lane == "handler" and request.identity is None)
            worker = claims.take(request.lane, request.identity, fresh=fresh)
            if worker is None:
                worker = await claims.wait(request.lane, request.identity, fresh=fresh, timeout_s=request.timeout_s)
        except UhlpError as error:
            return AllocateSandboxResponse(status=AllocationStatus.NO_INSTANCE_AVAILABLE, error=error)
        self._allocated[worker.instance_id] = (claims, worker)
        return AllocateSandboxResponse(
            status=AllocationStatus.ALLOCATED, instance_id=worker.instance_id, instance=worker
        )

    def release_sandbox(self, request: ReleaseSandboxRequest) -> None:
        """Give a claim back; an instance that is not claimed is ignored."""
        claimed = self._allocated.get(request.instance_id)
        if claimed is None:
            return
        claims, worker = claimed
        claims.release(worker)
        if worker.in_flight == 0:
            self._allocated.pop(request.instance_id, None)

    async def run_cycle(self) -> None:
        """Bring every pool towards what is desired (see PoolSet)."""
        await self._pools.run_cycle()

    async def run_driver_cycle(self) -> None:
        """The driver's own upkeep: what nobody knows is removed, spares are refilled. An engine may take its time."""
        await self._driver.run_cycle()

    async def stop_application(self, app_id: str) -> None:
        """End every sandbox of the application; calls in flight may finish within the drain time."""
        await self._pools.close(lambda pool: pool.app_id == app_id)

    def recycle(self, sandbox_id: str, *, actor: str) -> None:
        """Replace a sandbox: it gets no new calls, those in flight finish. Raises SandboxNotFound."""
        if not any(pool.recycle(sandbox_id) for pool in self._pools):
            raise SandboxNotFound
        log.info("sandbox_recycled", sandbox_id=sandbox_id, actor=actor)

    def problems(self, app_id: str) -> list[str]:
        """Why sandboxes cannot serve all of the application now: starts that fail, code that crashes every time."""
        serving = [pool for pool in self._pools if pool.app_id == app_id and pool.group == "serving"]
        return [problem for pool in serving for problem in pool.problems()]

    def status(self) -> list[dict[str, Any]]:
        """One entry per pool."""
        isolation = self.capabilities.isolation
        return [{**pool_view(pool, clock=self._clock), "isolation": isolation} for pool in self._pools]

    async def sandboxes(self, app_id: str | None = None) -> list[dict[str, Any]]:
        """One entry per sandbox, of one application or of all, with its workers and what it takes."""
        pools = [pool for pool in self._pools if app_id in (None, pool.app_id)]
        views = [sandbox_views(pool, self.capabilities, clock=self._clock) for pool in pools]
        return [view for of_pool in await asyncio.gather(*views) for view in of_pool]

    def driver_status(self) -> dict[str, Any]:
        """What the driver has to say beside its capabilities: images and their pulls, spares."""
        return self._driver.status()
