"""Numbers of the state room."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from uhlp.access.address_guard import AddressRules
from uhlp.access.definition_secrets import Owner


class RuntimeLimits(BaseModel):
    """What one application may keep in the runtime store; what it keeps already is never taken away."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: Annotated[int, Field(ge=1)] = 10_000
    """How many keys."""

    value_bytes: Annotated[int, Field(ge=16)] = 1024 * 1024
    """The JSON of one value, or of one entry of a stream."""
    entries: Annotated[int, Field(ge=1, le=100_000)] = 10_000
    """The entries that a stream keeps at most."""


class RuntimeSettings(BaseModel):
    """Where runtime values live: `sqlite` (a file in the data directory) or `redis://host:port/db`.

    Of the servers that share a Redis one decides about candidates. It says so every third of `lease_s`; when it has not
    for as long as that, another one takes over.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = "sqlite"
    """`sqlite`, or `redis://[user:password@]host:port/db`; `rediss://` speaks TLS."""

    timeout_s: float = 2.0
    """How long Redis has to answer."""

    limits: RuntimeLimits = RuntimeLimits()
    lease_s: Annotated[float, Field(ge=1, le=3600)] = 15.0


class RemoteSettings(AddressRules):
    """Where definitions may have their remote (`stateStoreConfig.params.repoUrl`); this machine's git goes there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: dict[Owner, tuple[Path, ...]] = Field(default_factory=dict)
    """Repositories of this machine, or folders of them, by the application that may name them (`*`: every one). Without
    it a path is refused."""
