"""DocumentsByTag: durable sets in one store, those of experiments in another."""

from uhlp.prompts.overrides.override_documents import ChangeNote, Held, OverrideDocuments
from uhlp.prompts.overrides.override_set import OverrideId, OverrideSet


class DocumentsByTag:
    """Tags that begin with `opt-` are temporary."""

    def __init__(self, *, durable: OverrideDocuments, temporary: OverrideDocuments) -> None:
        self._durable = durable
        self._temporary = temporary

    async def read(self, identity: OverrideId) -> Held:
        return await self._of(identity).read(identity)

    async def swap(self, identity: OverrideId, held: Held, overrides: OverrideSet | None, note: ChangeNote) -> bool:
        return await self._of(identity).swap(identity, held, overrides, note)

    async def identities(self, ns: str, key: str | None = None) -> list[OverrideId]:
        durable = [one for one in await self._durable.identities(ns, key) if not one.is_temporary]
        temporary = [one for one in await self._temporary.identities(ns, key) if one.is_temporary]
        return sorted([*durable, *temporary])

    async def history(self, identity: OverrideId, limit: int) -> list[OverrideSet]:
        return await self._of(identity).history(identity, limit)

    def _of(self, identity: OverrideId) -> OverrideDocuments:
        return self._temporary if identity.is_temporary else self._durable
