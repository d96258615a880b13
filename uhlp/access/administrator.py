"""Administrator: who holds a token, and how much that allows."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a token allows; each role may all that the one before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    OWNER = "owner"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what asks for `needed`."""
        return _RANKS[self] >= _RANKS[needed]


_RANKS = {role: rank for rank, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Administrator:
    """The holder of a token. `name` is the actor in ledger, commits, events and log lines."""

    token_id: str
    name: str
    role: Role
