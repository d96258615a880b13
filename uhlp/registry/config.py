"""Numbers of the registry room."""

from pydantic import BaseModel, ConfigDict


class RegistrySettings(BaseModel):
    """`argon2_*`: the cost of one first check of an API key (OWASP's minimum); `argon2_threads` checks run at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argon2_memory_kib: int = 19_456
    """Memory of one check."""

    argon2_time_cost: int = 2
    """Passes over it."""

    argon2_threads: int = 1
    """Checks at once."""

    last_good_search: int = 50
    """How many commits back a valid definition is looked for at start, when the newest one is not valid."""
