"""Metrics: what Prometheus reads, and the sliding windows that rules and people read. Home of prometheus_client."""

from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.exposition import OPENMETRICS_TYPE, TEXT_TYPE, Form
from uhlp.metrics.metric_collector import MetricCollector
from uhlp.metrics.point import HistogramTotals, Point, SummaryTotals
from uhlp.metrics.window import Window
from uhlp.metrics.windows import Windows
from uhlp.metrics.windows_archive import WindowsArchive
from uhlp.metrics.writer import Writer

__all__ = [
    "OPENMETRICS_TYPE",
    "TEXT_TYPE",
    "Form",
    "HistogramTotals",
    "MetricCollector",
    "MetricsConfig",
    "Point",
    "SummaryTotals",
    "Window",
    "Windows",
    "WindowsArchive",
    "Writer",
]
