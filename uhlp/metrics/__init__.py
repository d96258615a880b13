"""Metrics: what Prometheus reads, and the sliding windows that rules and people read. Home of prometheus_client."""

from uhlp.metrics.config import MetricsConfig
from uhlp.metrics.metric_collector import METRICS_CONTENT_TYPE, MetricCollector
from uhlp.metrics.windows import Window, Windows

__all__ = ["METRICS_CONTENT_TYPE", "MetricCollector", "MetricsConfig", "Window", "Windows"]
