"""Numbers of evaluations."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class EvalSettings(BaseModel):
    """Runs of evaluations and optimisations, which share the models with requests and are held back by these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Samples that this server runs at once."""
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a run that may go better another time is tried again."""
    deadline_s: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    """One run of a sample."""
    capacity: Annotated[int, Field(ge=1, le=1_000)] = 32
    """Samples of one evaluation that are under way or wait."""
