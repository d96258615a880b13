"""POST /record's body (seed 001); snake_case, as the seed has it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class MetricRecord(BaseModel):
    """One measurement. `value` is what a counter adds, a gauge is set to, a histogram or summary observes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric_name: Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:.]*$", max_length=200)]
    metric_type: Literal["counter", "gauge", "histogram", "summary"]
    value: Annotated[float, Field(allow_inf_nan=False)]
    labels: dict[Annotated[str, Field(max_length=200)], str] = {}
    buckets: Annotated[list[float], Field(min_length=1, max_length=100)] | None = None
    unit: Annotated[str, Field(max_length=100)] | None = None
    timestamp: Annotated[str, Field(max_length=100)] | None = None
    help: Annotated[str, Field(max_length=1_000)] | None = None
