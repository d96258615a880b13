"""Claims of a worker by name, in the words of seed 003 §3.2.6."""

from dataclasses import dataclass
from enum import StrEnum

from uhlp.errors import UhlpError
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import Identity, LaneName, WorkerClient
from uhlp.sandbox.driver import Group


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
