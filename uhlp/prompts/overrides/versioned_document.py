"""VersionedDocument: a set and the ones before it, where the store has no history of its own."""

from typing import Self

from uhlp.models.wire import WireModel
from uhlp.prompts.overrides.override_set import OverrideSet

MOST_EARLIER = 20


class VersionedDocument(WireModel):
    """`current` is None once the set was removed; `earlier` are the ones before, newest first."""

    current: OverrideSet | None = None
    earlier: tuple[OverrideSet, ...] = ()

    def followed_by(self, overrides: OverrideSet | None) -> Self:
        earlier = self.earlier if self.current is None else (self.current, *self.earlier)
        return type(self)(current=overrides, earlier=earlier[:MOST_EARLIER])

    @property
    def versions(self) -> tuple[OverrideSet, ...]:
        return self.earlier if self.current is None else (self.current, *self.earlier)
