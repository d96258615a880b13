"""What is counted of sandboxes, by application, pool and group (serving, trial, …)."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric, HistogramMetric

_POOL = ("appId", "poolName", "group")
_WAIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)

CLAIMS = CounterMetric(
    name="uhlp_sandbox_claims_total",
    meaning="Claims of a worker, by outcome: hit, waited, refused.",
    labels=(*_POOL, "outcome"),
    row="sandboxes",
)
CLAIM_SECONDS = HistogramMetric(
    name="uhlp_sandbox_claim_wait_seconds",
    meaning="How long claims waited, by outcome: waited, refused. Hits wait for nothing: see the claims.",
    labels=(*_POOL, "outcome"),
    buckets=_WAIT_BUCKETS_S,
    row="sandboxes",
)
CLAIM_QUEUE = GaugeMetric(
    name="uhlp_sandbox_queue_length", meaning="Claims that wait for a worker.", labels=_POOL, row="sandboxes"
)
WORKERS = GaugeMetric(name="uhlp_sandbox_workers", meaning="Workers that live.", labels=_POOL, row="sandboxes")
WORKERS_BY_STATE = GaugeMetric(
    name="uhlp_sandbox_workers_by_state",
    meaning="Workers that are idle, busy, starting.",
    labels=(*_POOL, "state"),
    row="sandboxes",
)
STARTS = CounterMetric(
    name="uhlp_sandbox_starts_total", meaning="Sandboxes that started.", labels=_POOL, row="sandboxes"
)
START_FAILURES = CounterMetric(
    name="uhlp_sandbox_start_failures_total", meaning="Starts that failed.", labels=_POOL, row="sandboxes"
)
WORKER_START_SECONDS = HistogramMetric(
    name="uhlp_sandbox_worker_start_seconds",
    meaning="Time until a new worker is ready.",
    labels=_POOL,
    buckets=_WAIT_BUCKETS_S,
    row="sandboxes",
)
START_STAGE_SECONDS = HistogramMetric(
    name="uhlp_sandbox_start_stage_seconds",
    meaning="The parts of a start: the sandbox, its worker until its hello.",
    labels=(*_POOL, "stage"),
    buckets=_WAIT_BUCKETS_S,
    row="sandboxes",
)
WORKER_ENDS = CounterMetric(
    name="uhlp_sandbox_worker_ends_total",
    meaning="Workers that ended.",
    labels=(*_POOL, "reason"),
    row="sandboxes",
)
CRASHES = CounterMetric(
    name="uhlp_sandbox_crashes_total",
    meaning="Workers that failed, by reason: oom, killed, exited, limit, hung.",
    labels=(*_POOL, "reason"),
    row="sandboxes",
)
RECYCLES = CounterMetric(
    name="uhlp_sandbox_recycles_total",
    meaning="Workers that were replaced, by reason: requests, age, memory, unhealthy, asked, worn.",
    labels=(*_POOL, "reason"),
    row="sandboxes",
)
COMMANDS = CounterMetric(
    name="uhlp_commands_total",
    meaning="Commands of components, by outcome: ok, failed, timed_out, output_limit, refused (or given up).",
    labels=("appId", "outcome"),
    row="sandboxes",
)
COMMANDS_RUNNING = GaugeMetric(
    name="uhlp_commands_running", meaning="Commands that run now.", labels=("appId",), row="sandboxes"
)
