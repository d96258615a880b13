"""What is counted of runs of workflows."""

from uhlp.catalogue.metric import CounterMetric, GaugeMetric

_COMPONENT = ("appId", "componentId")

RUNS = CounterMetric(
    name="uhlp_workflow_runs_total",
    meaning="Runs of workflows that have ended, by how: succeeded, failed, cancelled.",
    labels=(*_COMPONENT, "state"),
    row="traffic",
)
STEPS = CounterMetric(
    name="uhlp_workflow_steps_total",
    meaning="Attempts of workflow steps that have ended, by kind of step and outcome: ok, failed.",
    labels=(*_COMPONENT, "kind", "outcome"),
    row="handlers",
)
OPEN_RUNS = GaugeMetric(
    name="uhlp_workflow_runs_open",
    meaning="Runs of workflows that have not ended, those that wait among them.",
    row="traffic",
)
RESUMED = CounterMetric(
    name="uhlp_workflow_runs_resumed_total",
    meaning="Runs of workflows that went on after the server had ended.",
    labels=_COMPONENT,
    row="traffic",
)
