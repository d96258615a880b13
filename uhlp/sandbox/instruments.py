"""What is counted of sandboxes, by application, pool and group."""

from uhlp.metering import Meter

_POOL = ("appId", "poolName", "group")
_START_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)


class SandboxInstruments:
    """Made once by the manager."""

    def __init__(self, meter: Meter) -> None:
        self.claims = meter.counter(
            "uhlp_sandbox_claims_total", "Claims of a worker, by outcome: hit, waited, refused.", (*_POOL, "outcome")
        )
        self.ends = meter.counter("uhlp_sandbox_worker_ends_total", "Workers that ended.", (*_POOL, "reason"))
        self.workers = meter.gauge("uhlp_sandbox_workers", "Workers that live.", _POOL)
        self.start_seconds = meter.histogram(
            "uhlp_sandbox_worker_start_seconds", "Time until a new worker is ready.", _POOL, _START_BUCKETS_S
        )
        self.start_failures = meter.counter("uhlp_sandbox_start_failures_total", "Starts that failed.", _POOL)

    def of_pool(self, app_id: str, pool: str, group: str) -> "PoolInstruments":
        return PoolInstruments(self, (app_id, pool, group))


class PoolInstruments:
    """One pool's children, kept because claims are counted on the hot path."""

    def __init__(self, all_pools: SandboxInstruments, labels: tuple[str, str, str]) -> None:
        self.hit = all_pools.claims.labels(*labels, "hit")
        self.waited = all_pools.claims.labels(*labels, "waited")
        self.refused = all_pools.claims.labels(*labels, "refused")
        self.workers = all_pools.workers.labels(*labels)
        self.start_seconds = all_pools.start_seconds.labels(*labels)
        self.start_failures = all_pools.start_failures.labels(*labels)
        self._ends = all_pools.ends
        self._labels = labels

    def ended(self, reason: str) -> None:
        self._ends.labels(*self._labels, reason).inc()
