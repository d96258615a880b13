"""Numbers of the router."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class SlotSettings(BaseModel):
    """How many requests run at once, and how many wait for their turn (settings `limits.*`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    executions: Annotated[int, Field(ge=2)] = 512
    """Requests that run at once on this server; `llm.connections` should not be fewer. One application has at most half
    of them, less the more others run."""

    executions_per_application: Annotated[int, Field(ge=1)] | None = None
    """What one application has at most, where that is less than its share."""

    queue_per_application: Annotated[int, Field(ge=0)] = 256
    """Requests of one application that may wait; more are refused with 429."""

    queue_wait_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a request waits at most; its own deadline may end that sooner."""
