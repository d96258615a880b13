"""What is counted of sandboxes, by application, pool and group."""

from typing import Literal

from uhlp.metering import Counter, CounterChild, Meter
from uhlp.sandbox.driver import ExitReason

Ending = Literal[
    "idle", "room", "fresh", "left", "gone", "closed",
    "requests", "age", "memory", "unhealthy", "asked", "worn",
    "crashed", "hung",
]  # fmt: skip
"""Why a worker ends: nobody needs it (first line), it is replaced (second), it failed under a call (third)."""

RECYCLES: frozenset[Ending] = frozenset({"requests", "age", "memory", "unhealthy", "asked", "worn"})

_POOL = ("appId", "poolName", "group")
_WAIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class SandboxInstruments:
    """Made once by the manager."""

    def __init__(self, meter: Meter) -> None:
        self.claims = meter.counter(
            "uhlp_sandbox_claims_total", "Claims of a worker, by outcome: hit, waited, refused.", (*_POOL, "outcome")
        )
        self.claim_seconds = meter.histogram(
            "uhlp_sandbox_claim_wait_seconds",
            "How long claims waited, by outcome: waited, refused. Hits wait for nothing and are counted among claims.",
            (*_POOL, "outcome"),
            _WAIT_BUCKETS_S,
        )
        self.queue = meter.gauge("uhlp_sandbox_queue_length", "Claims that wait for a worker.", _POOL)
        self.workers = meter.gauge("uhlp_sandbox_workers", "Workers that live.", _POOL)
        self.states = meter.gauge(
            "uhlp_sandbox_workers_by_state", "Workers that are idle, busy, starting.", (*_POOL, "state")
        )
        self.starts = meter.counter("uhlp_sandbox_starts_total", "Sandboxes that started.", _POOL)
        self.start_seconds = meter.histogram(
            "uhlp_sandbox_worker_start_seconds", "Time until a new worker is ready.", _POOL, _WAIT_BUCKETS_S
        )
        self.stage_seconds = meter.histogram(
            "uhlp_sandbox_start_stage_seconds",
            "The parts of a start: the sandbox, its worker until its hello.",
            (*_POOL, "stage"),
            _WAIT_BUCKETS_S,
        )
        self.start_failures = meter.counter("uhlp_sandbox_start_failures_total", "Starts that failed.", _POOL)
        self.ends = meter.counter("uhlp_sandbox_worker_ends_total", "Workers that ended.", (*_POOL, "reason"))
        self.crashes = meter.counter(
            "uhlp_sandbox_crashes_total",
            "Workers that failed, by reason: oom, killed, exited, limit, hung.",
            (*_POOL, "reason"),
        )
        self.recycles = meter.counter(
            "uhlp_sandbox_recycles_total",
            "Workers that were replaced, by reason: requests, age, memory, unhealthy, asked, worn.",
            (*_POOL, "reason"),
        )

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
