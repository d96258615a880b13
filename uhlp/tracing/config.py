"""Where spans go (settings `tracing.*`)."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class TracingSettings(BaseModel):
    """Without `otlp_endpoint` no spans are made, and nothing of OpenTelemetry is imported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    otlp_endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+(/[^\s?#]*)?$")] | None = None
    """A collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; `/v1/traces` is added where it names no
    path."""

    headers: dict[str, SecretStr] = {}
    """What the collector asks for; values may be `secret:NAME`."""

    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the traces that begin here which are recorded; for others the caller has decided."""
