"""What people see of pools and sandboxes (GET /admin/v1/sandboxes): plain values, read at the moment of asking."""

import asyncio
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import UhlpError
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.driver import Capabilities, Usage
from uhlp.sandbox.pool import SandboxPool
from uhlp.sandbox.worker_source import StartedSandbox

ASKED_WITHIN_S = 1.0
"""A sandbox that does not say in time what it takes, or has just ended, is shown without."""


def pool_view(pool: SandboxPool, *, clock: Clock) -> dict[str, Any]:
    """Counts and seconds of one pool."""
    workforce = pool.workforce
    return {
        "appId": pool.app_id,
        "poolName": pool.definition.pool_name,
        "group": pool.group,
        "sandboxId": pool.source.sandbox_id,
        "workers": len(workforce.workers),
        "spares": len(workforce.spares),
        "starting": workforce.starting,
        "busy": pool.claims.busy,
        "waiting": pool.claims.waiting,
        "requests": pool.claims.served,
        "minInstances": pool.definition.min_instances,
        "maxInstances": pool.definition.max_instances,
        "ageS": round(clock.monotonic() - pool.started_s, 3),
        "problem": "; ".join(pool.problems()) or None,
    }


async def sandbox_views(pool: SandboxPool, capabilities: Capabilities, *, clock: Clock) -> list[dict[str, Any]]:
    """One entry for each sandbox of the pool, and one for a sandbox that is about to be, which has no id yet."""
    known = {
        "appId": pool.app_id,
        "poolName": pool.definition.pool_name,
        "group": pool.group,
        "driver": capabilities.driver,
        "isolation": capabilities.isolation,
    }
    views = await asyncio.gather(*(_sandbox_view(pool, each, clock.monotonic()) for each in pool.source.sandboxes))
    if pool.source.is_starting_sandbox and pool.source.sandbox_id is None:
        views.append(_STARTING)
    return [{**view, **known} for view in views]


_STARTING: dict[str, Any] = {
    "sandboxId": None,
    "transport": "none",
    "state": "starting",
    "ageS": 0.0,
    "requests": 0,
    "busy": 0,
    "workers": [],
    "cpuS": None,
    "memoryBytes": None,
    "problem": None,
}


async def _sandbox_view(pool: SandboxPool, started: StartedSandbox, now_s: float) -> dict[str, Any]:
    sandbox = started.sandbox
    workers = [each for each in pool.workforce.workers if each.sandbox_id == sandbox.sandbox_id]
    usage, sizes = await asyncio.gather(_usage(started), asyncio.gather(*(_memory(each) for each in workers)))
    state = "ready" if started.set_aside_because is None else "draining" if started.was_asked else "set-aside"
    return {
        "sandboxId": sandbox.sandbox_id,
        "transport": sandbox.transport,
        "state": state,
        "ageS": round(now_s - started.started_s, 3),
        "requests": started.requests + sum(each.requests for each in workers),
        "busy": sum(each.in_flight for each in workers),
        "workers": [_worker_view(*each, now_s) for each in zip(workers, sizes, strict=True)],
        "cpuS": usage and round(usage.cpu_s, 3),
        "memoryBytes": usage and usage.memory_bytes,
        "problem": started.set_aside_because,
    }


def _worker_view(worker: WorkerClient, memory_bytes: int | None, now_s: float) -> dict[str, Any]:
    state = "spare" if worker.lane is None else "idle"
    if worker.in_flight:
        state = "draining" if worker.worn else "busy"
    return {
        "workerId": worker.worker.worker_id,
        "lane": worker.lane,
        "component": worker.identity[0] if worker.identity is not None else None,
        "state": state,
        "requests": worker.requests,
        "busy": worker.in_flight,
        "ageS": round(now_s - worker.started_s, 3),
        "memoryBytes": memory_bytes,
    }


async def _usage(started: StartedSandbox) -> Usage | None:
    try:
        async with asyncio.timeout(ASKED_WITHIN_S):
            return await started.sandbox.usage()
    except (TimeoutError, UhlpError):
        return None


async def _memory(worker: WorkerClient) -> int | None:
    try:
        async with asyncio.timeout(ASKED_WITHIN_S):
            return await worker.worker.memory_bytes()
    except (TimeoutError, UhlpError):
        return None
