"""The sandbox room's numbers (settings `sandbox.*`)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]


class SandboxSettings(BaseModel):
    """Which driver makes sandboxes, and the limits that hold for every pool."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    driver: Literal["auto", "process", "docker", "swarm"] = "auto"
    allow_unisolated: bool = False
    """Run generated code without walls when the machine offers none; never in production."""

    max_queue: Annotated[int, Field(ge=0)] = 256
    """Calls that may wait in one lane of one pool; more are refused at once."""

    model_concurrency: Annotated[int, Field(ge=1)] = 64
    """Model calls that share one worker where the pool names no `concurrency`."""

    warm_pools: Annotated[int, Field(ge=0)] = 8
    """Pools that get a worker ahead of their first request, after start-up or registration; it ends when it idles."""

    start_timeout_s: Seconds = 10.0
    kill_timeout_s: Seconds = 5.0
    ping_timeout_s: Seconds = 2.0
    """A shared worker that let a call run out of time has this long to answer a ping before it is killed."""

    drain_s: Annotated[float, Field(ge=0)] = 20.0
    """How long `close` waits for calls in flight."""

    backoff_initial_s: Seconds = 0.5
    backoff_max_s: Seconds = 30.0
    max_worker_age_s: Seconds = 3600.0
    recycle_memory_share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """An idle worker that holds more of its pool's memory limit than this is replaced."""
