"""The catalogue: every metric of the server itself, in one table.

Rooms make their instruments from it (`REQUESTS.on(meter)`), `uhlp metrics` prints it, and the dashboard and the alert
rules name nothing else. Metrics that applications record are theirs and are not in it.
"""

from types import ModuleType

from uhlp.catalogue import evolution, models, sandboxes, server, sources, traffic, workflows
from uhlp.catalogue.metric import CounterMetric, GaugeMetric, HistogramMetric, Metric


def _metrics_of(*parts: ModuleType) -> dict[str, Metric]:
    found = [one for part in parts for one in vars(part).values() if isinstance(one, Metric)]
    return {metric.name: metric for metric in found}


CATALOGUE = _metrics_of(traffic, sources, workflows, models, sandboxes, evolution, server)
"""By name, in the order of the files."""

__all__ = ["CATALOGUE", "CounterMetric", "GaugeMetric", "HistogramMetric", "Metric"]
