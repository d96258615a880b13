"""AnswerCache: what a model has answered to exactly the same question, for the applications that want it so.

In memory, so a restart empties it. An application sees its own answers only, and can push out nobody else's: where room
is short, whoever holds the most gives up what it has not used for longest.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.llm.generation import Generation
from uhlp.models.definition import ModelCache

_ENTRY_BYTES = 500
"""What an entry takes beside its text."""


def question_key(question: Mapping[str, Any]) -> bytes:
    """What two equal questions share: `question` is JSON and holds all that the answer depends on."""
    return hashlib.blake2b(strict_json.canonical(dict(question)), digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class _Entry:
    generation: Generation
    kept_at: float
    size_bytes: int


@dataclass(slots=True)
class _Shelf:
    """One application's entries, the least recently used first."""

    entries: OrderedDict[bytes, _Entry] = field(default_factory=OrderedDict)
    size_bytes: int = 0

    def remove(self, key: bytes) -> None:
        self.size_bytes -= self.entries.pop(key).size_bytes

    def remove_oldest(self) -> None:
        self.remove(next(iter(self.entries)))


class AnswerCache:
    """`most_bytes` bounds all applications together; an application's own `policy` bounds age and number."""

    def __init__(self, *, clock: Clock, most_bytes: int) -> None:
        self._clock = clock
        self._most_bytes = most_bytes
        self._shelves: dict[str, _Shelf] = {}

    @property
    def size_bytes(self) -> int:
        return sum(shelf.size_bytes for shelf in self._shelves.values())

    def get(self, app_id: str, key: bytes, policy: ModelCache) -> Generation | None:
        """The answer, as one that took nothing; None when there is none that is young enough."""
        shelf = self._shelves.get(app_id)
        entry = shelf.entries.get(key) if shelf else None
        if shelf is None or entry is None:
            return None
        if self._clock.monotonic() - entry.kept_at >= policy.max_age_s:
            shelf.remove(key)
            return None
        shelf.entries.move_to_end(key)
        return replace(entry.generation, tokens_in=0, tokens_out=0, cost_usd=0.0, latency_ms=0.0)

    def keep(self, app_id: str, key: bytes, generation: Generation, policy: ModelCache) -> None:
        """Remember an answer that was good."""
        shelf = self._shelves.setdefault(app_id, _Shelf())
        if key in shelf.entries:
            shelf.remove(key)
        entry = _Entry(generation, self._clock.monotonic(), len(generation.text.encode()) + _ENTRY_BYTES)
        shelf.entries[key] = entry
        shelf.size_bytes += entry.size_bytes
        while len(shelf.entries) > policy.max_entries:
            shelf.remove_oldest()
        while self.size_bytes > self._most_bytes:
            max(self._shelves.values(), key=lambda one: one.size_bytes).remove_oldest()

    def forget(self, app_id: str) -> None:
        """Drop everything of an application."""
        self._shelves.pop(app_id, None)
