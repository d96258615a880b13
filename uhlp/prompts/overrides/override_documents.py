"""OverrideDocuments: where override sets are kept. Git, the runtime store and S3 implement it, under one suite."""

from dataclasses import dataclass
from typing import Any, Protocol

from uhlp.prompts.overrides.override_set import OverrideId, OverrideSet


@dataclass(frozen=True, slots=True)
class Held:
    """What stands under an id; `token` is the store's own, for `swap`."""

    overrides: OverrideSet | None
    token: Any = None


@dataclass(frozen=True, slots=True)
class ChangeNote:
    """Who changes a set and why, where the store has a place for it."""

    message: str
    author: str | None = None


class OverrideDocuments(Protocol):
    """Documents by id. Raises Unavailable when the store is down, NotFound when an application must exist and does not.

    Sets that are over may still be there: whoever reads looks at `expires_at`.
    """

    async def read(self, identity: OverrideId) -> Held:
        """The present set, if any, to be changed by `swap`."""
        ...

    async def swap(self, identity: OverrideId, held: Held, overrides: OverrideSet | None, note: ChangeNote) -> bool:
        """Put a set in the place of what was read, or take it away; False, and no change, if it is another by now."""
        ...

    async def identities(self, ns: str, key: str | None = None) -> list[OverrideId]:
        """The sets of an application, or of one of its prompts, in order."""
        ...

    async def history(self, identity: OverrideId, limit: int) -> list[OverrideSet]:
        """The present set and the ones before it, newest first; the ones of a removed set, too."""
        ...
