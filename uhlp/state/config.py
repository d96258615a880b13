"""Numbers of the state room."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RuntimeSettings(BaseModel):
    """Where runtime values live: `sqlite` (a file in the data directory) or `redis://host:port/db`.

    Of the servers that share a Redis one decides about candidates. It says so every third of `lease_s`; when it has not
    for as long as that, another one takes over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "sqlite"
    timeout_s: float = 2.0
    lease_s: Annotated[float, Field(ge=1, le=3600)] = 15.0
