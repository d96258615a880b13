"""Numbers of the metrics room."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Limit = Annotated[int, Field(ge=1)]


class MetricsConfig(BaseModel):
    """Bounds on what recorded metrics may hold in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_metrics: Limit = 2_000
    max_label_sets: Limit = 1_000
    """Label sets of one metric within one application (the label `appId`; without it, all records share one)."""
    max_series: Limit = 200_000
    """Label sets of all metrics together."""
    max_app_series: Limit = 50_000
    """The part of them that one application may have; records without a known application share one such part."""
    max_shared_metrics: Limit = 1_000
    """The part of the metrics that records without a known application may make."""
    max_labels: Limit = 20
    max_label_length: Limit = 500
    max_records: Limit = 10_000
    """Records of one list."""
