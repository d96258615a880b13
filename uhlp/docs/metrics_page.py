"""metrics.md: every metric of the server itself, from `uhlp/catalogue`."""

from typing import get_args

from uhlp.catalogue import CATALOGUE, HistogramMetric
from uhlp.catalogue.metric import Row
from uhlp.docs.markdown_table import code, table

_HEAD = """\
# Metrics

`GET /metrics` shows these, and what applications record. `uhlp metrics --grafana` prints a dashboard made from them,
`uhlp metrics --alerts` a rule file for Prometheus. Labels hold what is registered, never a part of a request. A
histogram is shown as `_bucket`, `_sum` and `_count`. Series of an application go when it is deregistered.
"""


def metrics_page() -> str:
    sections = [_HEAD]
    for row in get_args(Row):
        found = [metric for metric in CATALOGUE.values() if metric.row == row]
        rows = [
            (
                code(metric.name),
                metric.metric_type,
                "count" if metric.unit == "1" else metric.unit,
                " ".join(code(label) for label in metric.labels),
                metric.meaning + _buckets(metric),
            )
            for metric in found
        ]
        sections.append(f"\n## {row.capitalize()}\n\n{table(('name', 'type', 'unit', 'labels', 'meaning'), rows)}")
    return "".join(sections)


def _buckets(metric: object) -> str:
    if not isinstance(metric, HistogramMetric):
        return ""
    return f" Buckets: {' '.join(f'{bound:g}' for bound in metric.buckets)}."
