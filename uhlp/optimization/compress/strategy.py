"""CompressStrategy: who proposes shorter sections. A strategy never decides whether they are good (seed 004)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Protocol

from pydantic import Field

from uhlp.models.wire import WireModel
from uhlp.prompts.overrides import PromptDescriptor, SectionOverride
from uhlp.prompts.overrides.override_set import Digest

_CHARACTERS_A_TOKEN = 4
_UNPRICED_USD_PER_MTOK = 10.0
"""Stands in for a price that nobody knows, as in evolution's budget."""


class SectionEdit(WireModel):
    """Another body for one section. Tokens are estimates; measured figures are in the report."""

    path: Annotated[tuple[str, ...], Field(min_length=1, max_length=1)]
    original_hash: Digest
    proposed_body: str
    original_tokens: int
    proposed_tokens: int
    strategy: str = ""

    @property
    def section(self) -> str:
        return self.path[0]

    @property
    def saves(self) -> int:
        """Tokens, estimated."""
        return self.original_tokens - self.proposed_tokens

    @property
    def digest(self) -> str:
        """Of what it would write where."""
        return sha256(f"{self.section}\0{self.original_hash}\0{self.proposed_body}".encode()).hexdigest()

    def as_override(self) -> SectionOverride:
        return SectionOverride(path=self.path, expected_hash=self.original_hash, body=self.proposed_body)


@dataclass(frozen=True, slots=True)
class StrategyUse:
    """What a strategy took of models; money as `priced` says."""

    tokens: int = 0
    usd: float = 0.0
    calls: int = 0


class CompressStrategy(Protocol):
    """Generates compressed variants of sections."""

    @property
    def name(self) -> str: ...

    async def propose(
        self, prompt: PromptDescriptor, *, component_id: str, deadline: float
    ) -> tuple[Sequence[SectionEdit], StrategyUse]:
        """Edits of compressible sections of `prompt`, whose bodies are those of the baseline; several of one section
        are alternatives. `deadline` is in the clock's monotonic seconds. Raises UhlpError when a model cannot be asked.
        """
        ...


def edit_of(section_key: str, body: str, original_hash: str, proposed: str, *, strategy: str) -> SectionEdit:
    """An edit with its tokens estimated."""
    return SectionEdit(
        path=(section_key,),
        original_hash=original_hash,
        proposed_body=proposed,
        original_tokens=estimated_tokens(body),
        proposed_tokens=estimated_tokens(proposed),
        strategy=strategy,
    )


def estimated_tokens(text: str) -> int:
    """About how many tokens a text has: a quarter of its bytes, which suits English and counts other scripts higher."""
    return -(-len(text.encode()) // _CHARACTERS_A_TOKEN)


def priced(usd: float | None, tokens: int) -> float:
    """What a call took, in US dollars; an unknown price (None) is not free."""
    return tokens * _UNPRICED_USD_PER_MTOK / 1e6 if usd is None else usd
