"""Numbers of the metrics room."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Limit = Annotated[int, Field(ge=1)]


class MetricsConfig(BaseModel):
    """Bounds on what recorded metrics may hold in memory, and how metrics are shown.

    A series is one line of the exposition, about a kilobyte: a histogram of ten buckets takes twelve a label set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_metrics: Limit = 2_000
    """Names of recorded metrics."""

    max_app_metrics: Limit = 1_000
    """The part of them that one application may make; records without a known application share one such part."""
    max_label_sets: Limit = 1_000
    """Label sets of one metric within one application (the label `appId`; without it, all records share one)."""
    max_series: Limit = 200_000
    """Series of all recorded metrics together."""
    max_app_series: Limit = 50_000
    """The part of them that one application may have; records without a known application share one such part."""
    max_labels: Limit = 20
    """Labels of one metric."""

    max_label_length: Limit = 500
    """Characters of one label's value."""

    max_records: Limit = 10_000
    """Records of one list."""
    forget_after_s: Annotated[float, Field(gt=0)] = 86_400.0
    """A recorded series that nobody has written for so long is removed."""
    instance: Annotated[str, Field(max_length=200)] = ""
    """Shown as the label `instance` of every series; empty: no such label. Prometheus adds one of its own to what it
    scrapes, so this is for replicas that are scraped at one address, or through a federation."""
    access: Literal["open", "token"] | None = None
    """Who may read /metrics: anyone, or holders of a token. Not set: `token` in production, else `open`."""

    def is_open(self, deployment_mode: str) -> bool:
        """Whether anyone may read /metrics."""
        return self.access == "open" or (self.access is None and deployment_mode != "production")
