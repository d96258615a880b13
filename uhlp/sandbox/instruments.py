"""What is counted of sandboxes, by application, pool and group."""

from typing import Literal

from uhlp.catalogue import sandboxes
from uhlp.metering import Counter, CounterChild, Meter
from uhlp.sandbox.driver import ExitReason

Ending = Literal[
    "idle", "room", "fresh", "left", "gone", "closed",
    "requests", "age", "memory", "unhealthy", "asked", "worn",
    "crashed", "hung",
]  # fmt: skip
"""Why a worker ends: nobody needs it (first line), it is replaced (second), it failed under a call (third)."""

RECYCLES: frozenset[Ending] = frozenset({"requests", "age", "memory", "unhealthy", "asked", "worn"})


class SandboxInstruments:
    """Made once by the manager."""

    def __init__(self, meter: Meter) -> None:
        self.claims = sandboxes.CLAIMS.on(meter)
        self.claim_seconds = sandboxes.CLAIM_SECONDS.on(meter)
        self.queue = sandboxes.CLAIM_QUEUE.on(meter)
        self.workers = sandboxes.WORKERS.on(meter)
        self.states = sandboxes.WORKERS_BY_STATE.on(meter)
        self.starts = sandboxes.STARTS.on(meter)
        self.start_seconds = sandboxes.WORKER_START_SECONDS.on(meter)
        self.stage_seconds = sandboxes.START_STAGE_SECONDS.on(meter)
        self.start_failures = sandboxes.START_FAILURES.on(meter)
        self.ends = sandboxes.WORKER_ENDS.on(meter)
        self.crashes = sandboxes.CRASHES.on(meter)
        self.recycles = sandboxes.RECYCLES.on(meter)

    def of_pool(self, app_id: str, pool: str, group: str) -> "PoolInstruments":
        return PoolInstruments(self, (app_id, pool, group))


class PoolInstruments:
    """One pool's children, kept because claims are counted on the hot path."""

    def __init__(self, all_pools: SandboxInstruments, labels: tuple[str, str, str]) -> None:
        self.hit = all_pools.claims.labels(*labels, "hit")
        self.queue = all_pools.queue.labels(*labels)
        self.workers = all_pools.workers.labels(*labels)
        self.starts = all_pools.starts.labels(*labels)
        self.start_seconds = all_pools.start_seconds.labels(*labels)
        self.sandbox_seconds = all_pools.stage_seconds.labels(*labels, "sandbox")
        self.worker_seconds = all_pools.stage_seconds.labels(*labels, "worker")
        self.start_failures = all_pools.start_failures.labels(*labels)
        self._states = {state: all_pools.states.labels(*labels, state) for state in ("idle", "busy", "starting")}
        self._all = all_pools
        self._labels = labels

    def waited(self, seconds: float, outcome: Literal["waited", "refused"]) -> None:
        """A claim that was no hit."""
        self._all.claims.labels(*self._labels, outcome).inc()
        self._all.claim_seconds.labels(*self._labels, outcome).observe(seconds)

    def show(self, *, idle: int, busy: int, starting: int) -> None:
        """The workers as they are now."""
        for state, number in (("idle", idle), ("busy", busy), ("starting", starting)):
            self._states[state].set(number)

    def ended(self, ending: Ending, exit_reason: ExitReason) -> None:
        """A worker has gone."""
        self.workers.dec()
        self._of(self._all.ends, exit_reason).inc()
        if ending in RECYCLES:
            self._of(self._all.recycles, ending).inc()
        elif ending in ("crashed", "hung"):
            self._of(self._all.crashes, "hung" if ending == "hung" else exit_reason).inc()

    def _of(self, counter: Counter, reason: str) -> CounterChild:
        return counter.labels(*self._labels, reason)
