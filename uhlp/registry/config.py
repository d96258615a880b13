"""Numbers of the registry room."""

from pydantic import BaseModel, ConfigDict


class RegistrySettings(BaseModel):
    """`argon2_*`: the cost of one first check of an API key (OWASP's minimum); `argon2_threads` checks run at once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    argon2_memory_kib: int = 19_456
    argon2_time_cost: int = 2
    argon2_threads: int = 1
    last_good_search: int = 50
