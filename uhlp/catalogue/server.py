"""What is shown of the server itself: loops, stores, queues, definitions, metrics, process."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric, HistogramMetric

LOOP_CYCLES = CounterMetric(
    name="uhlp_loop_cycles_total", meaning="Cycles of background loops.", labels=("loop",), row="health"
)
LOOP_CRASHES = CounterMetric(
    name="uhlp_loop_crashes_total", meaning="Cycles that raised.", labels=("loop",), row="health"
)
LOOP_LAG = GaugeMetric(
    name="uhlp_loop_lag_seconds",
    meaning="How much later than due the loop's newest cycle began.",
    labels=("loop",),
    unit="seconds",
    row="health",
)
LOOP_CYCLE_SECONDS = GaugeMetric(
    name="uhlp_loop_cycle_seconds",
    meaning="How long the loop's newest cycle took, waiting for work included.",
    labels=("loop",),
    unit="seconds",
    row="health",
)
EVENT_LOOP_LAG = HistogramMetric(
    name="uhlp_event_loop_lag_seconds",
    meaning="How late the event loop calls what is due, sampled four times a second.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
    row="health",
)
STORE_SECONDS = HistogramMetric(
    name="uhlp_store_seconds",
    meaning="Time of operations of the stores: definitions, runtime, evolution.",
    labels=("store", "operation"),
    buckets=(0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0),
    row="health",
)
QUEUE_LENGTH = GaugeMetric(
    name="uhlp_queue_length",
    meaning="What waits off the request path: samples, observations, notifications of webhooks.",
    labels=("queue",),
    row="health",
)
SAMPLES_DROPPED = CounterMetric(
    name="uhlp_samples_dropped_total",
    meaning="Samples that could not be kept, by reason.",
    labels=("reason",),
    row="health",
)
APPLICATIONS = GaugeMetric(
    name="uhlp_applications",
    meaning="Applications by status: ACTIVE, DEGRADED (an older revision serves), ERROR (none does).",
    labels=("status",),
    row="health",
)
SNAPSHOTS = CounterMetric(
    name="uhlp_registry_snapshots_total", meaning="Snapshots put into service.", labels=("appId",), row="health"
)
SNAPSHOT_AGE = GaugeMetric(
    name="uhlp_snapshot_age_seconds",
    meaning="How long ago the snapshot in service was put there.",
    labels=("appId",),
    unit="seconds",
    row="health",
)
STALE_OVERRIDES = GaugeMetric(
    name="uhlp_stale_overrides",
    meaning="Sections whose override under `stable` is passed over: the prompt's file was changed since.",
    labels=("appId",),
    row="health",
)
BAD_REVISIONS = CounterMetric(
    name="uhlp_registry_bad_revisions_total",
    meaning="Revisions that do not compile.",
    labels=("appId",),
    row="health",
)
METRIC_RECORDS = CounterMetric(name="uhlp_metric_records_total", meaning="Metric records accepted.", row="health")
METRIC_RECORDS_REFUSED = CounterMetric(
    name="uhlp_metric_records_refused_total",
    meaning="Metric records refused, by the error's code.",
    labels=("code",),
    row="health",
)
METRIC_SERIES = GaugeMetric(name="uhlp_metric_series", meaning="Series that recorded metrics have now.", row="health")
BUILD = GaugeMetric(name="uhlp_build_info", meaning="1, with the version that runs.", labels=("version",), row="health")
RESIDENT_MEMORY = GaugeMetric(
    name="uhlp_process_resident_memory_bytes",
    meaning="Memory of the server's process, sandboxes apart.",
    unit="bytes",
    row="health",
)
OPEN_FILES = GaugeMetric(name="uhlp_process_open_files", meaning="Descriptors that are open.", row="health")
THREADS = GaugeMetric(name="uhlp_process_threads", meaning="Threads of the process.", row="health")
TASKS = GaugeMetric(
    name="uhlp_process_tasks", meaning="Tasks of the event loop: requests, loops, sandboxes' channels.", row="health"
)
CPU_SECONDS = CounterMetric(
    name="uhlp_process_cpu_seconds_total",
    meaning="Processor time of the process, user and system.",
    unit="seconds",
    row="health",
)
