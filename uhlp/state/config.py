"""Numbers of the state room."""

from pydantic import BaseModel, ConfigDict


class RuntimeSettings(BaseModel):
    """Where runtime values live: `sqlite` (a file in the data directory) or `redis://host:port/db`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "sqlite"
    timeout_s: float = 2.0
