"""OverrideSet: what one tag puts in the place of a prompt's sections."""

import re
from hashlib import sha256
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from uhlp import strict_json
from uhlp.errors import ValidationFailed
from uhlp.models.wire import WireModel

STABLE = "stable"
SOURCE = "source"
"""The prompt's file, where tags are compared."""
TEMPORARY = "opt-"
"""What the tags of experiments begin with: they end by themselves."""

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_NAME = re.compile(NAME)


class OverrideId(NamedTuple):
    """Application, name of the prompt's file, and tag."""

    ns: str
    key: str
    tag: str

    @property
    def is_temporary(self) -> bool:
        return self.tag.startswith(TEMPORARY)


def override_id(ns: str, key: str, tag: str) -> OverrideId:
    """An id of valid names; ValidationFailed says which is not."""
    for what, name in (("application", ns), ("prompt", key), ("tag", tag)):
        if _NAME.fullmatch(name) is None:
            raise ValidationFailed(
                f"{name[:80]!r} is no {what} that has overrides: 1 to 64 of a-z, 0-9, dot, dash and underscore, "
                "the first a letter or digit"
            )
    return OverrideId(ns, key, tag)


class SectionOverride(WireModel):
    """Another body for the section at `path`, a tuple of its key alone. `expectedHash` is SHA-256, in hex, of the body
    that it takes the place of: the section as the set's parent has it, else as the prompt's file has it.
    """

    path: Annotated[tuple[str, ...], Field(min_length=1, max_length=1)]
    expected_hash: Digest
    body: str

    @property
    def key(self) -> str:
        return self.path[0]


class KeptSection(WireModel):
    """A section of a set; hash and body as SectionOverride says."""

    expected_hash: Digest
    body: str


class OverrideSet(WireModel):
    """The sections of one prompt under one tag. What it does not name comes from `parent`, else from the prompt's file.

    `provenance` says who made it and why. Times are epoch seconds; after `expiresAt` the set is not there.
    """

    parent: Annotated[str, Field(pattern=NAME)] | None = None
    created_at: float
    expires_at: float | None = None
    provenance: dict[str, Any] = Field(default_factory=dict)
    sections: dict[str, KeptSection]

    @property
    def revision(self) -> str:
        """Of all it holds: two sets with the same revision are the same."""
        return sha256(strict_json.canonical(self.model_dump(mode="json", by_alias=True))).hexdigest()[:16]

    def is_over(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at
