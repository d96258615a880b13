"""RuntimeDocuments: override sets in the runtime store, Redis or SQLite: shared, and gone when their time is over."""

from pydantic import ValidationError

from uhlp.clock import Clock
from uhlp.errors import DefinitionInvalid
from uhlp.prompts.overrides.override_documents import ChangeNote, Held
from uhlp.prompts.overrides.override_set import OverrideId, OverrideSet
from uhlp.prompts.overrides.versioned_document import VersionedDocument
from uhlp.state.framework_values import FrameworkValues
from uhlp.state.runtime_store import RuntimeValue

_PREFIX = "prompt-overrides:"
_REMOVED_FOR_S = 86_400.0
"""How long the history of a removed set is kept."""


class RuntimeDocuments:
    """Keys are `prompt-overrides:<ns>:<key>:<tag>`, among the framework's own: no application reaches them."""

    def __init__(self, *, values: FrameworkValues, clock: Clock) -> None:
        self._values = values
        self._clock = clock

    async def read(self, identity: OverrideId) -> Held:
        value = await self._values.get(_key(identity))
        return Held(_document(value, identity).current, value)

    async def swap(self, identity: OverrideId, held: Held, overrides: OverrideSet | None, note: ChangeNote) -> bool:
        if overrides is None and held.overrides is None:
            return True
        document = _document(held.token, identity).followed_by(overrides)
        return await self._values.compare_and_set(
            _key(identity),
            held.token,
            document.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            ttl_seconds=self._lasts_s(overrides),
        )

    async def identities(self, ns: str, key: str | None = None) -> list[OverrideId]:
        prefix = f"{_PREFIX}{ns}:" if key is None else f"{_PREFIX}{ns}:{key}:"
        found = []
        for name in await self._values.keys(prefix):
            identity = OverrideId(*name.removeprefix(_PREFIX).split(":"))
            if (await self.read(identity)).overrides is not None:
                found.append(identity)
        return sorted(found)

    async def history(self, identity: OverrideId, limit: int) -> list[OverrideSet]:
        return list(_document(await self._values.get(_key(identity)), identity).versions[:limit])

    def _lasts_s(self, overrides: OverrideSet | None) -> float | None:
        if overrides is None:
            return _REMOVED_FOR_S
        return None if overrides.expires_at is None else max(0.001, overrides.expires_at - self._clock.now())


def _key(identity: OverrideId) -> str:
    return _PREFIX + ":".join(identity)


def _document(value: RuntimeValue, identity: OverrideId) -> VersionedDocument:
    if not value.found:
        return VersionedDocument()
    try:
        return VersionedDocument.model_validate(value.value)
    except ValidationError:
        raise DefinitionInvalid(f"What is kept as overrides of {'/'.join(identity)} cannot be read.") from None
