"""What is counted of queues and schedules."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric

QUEUE_MESSAGES = GaugeMetric(
    name="uhlp_queue_messages",
    meaning="Messages of applications' queues by place: ready, leased, delayed, dead; `_events` has events.",
    labels=("appId", "queue", "state"),
    row="traffic",
)
QUEUE_DELIVERIES = CounterMetric(
    name="uhlp_queue_deliveries_total",
    meaning="Deliveries by what became of them: done, retried, postponed, rejected, lost (its lease ran out).",
    labels=("appId", "queue", "outcome"),
    row="traffic",
)
CRON_RUNS = CounterMetric(
    name="uhlp_cron_runs_total",
    meaning="Due times of schedules by what became of them: started, skipped (too late, or several at once).",
    labels=("appId", "componentId", "outcome"),
    row="traffic",
)
