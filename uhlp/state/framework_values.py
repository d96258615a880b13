"""FrameworkValues: what the framework itself keeps in the runtime store."""

from typing import Any

from uhlp.state.application_values import whole_framework_key
from uhlp.state.runtime_store import MOST_LISTED, RuntimeStore, RuntimeValue, StreamEntry


class FrameworkValues:
    """Keys stand under `uhlp:framework:`, where no application, no tool and no admin route reaches.

    They have no limits of their own: their keeper bounds them. Everything else is as RuntimeStore says.
    """

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> None:
        """Put a value; it goes after `ttl_seconds`, or stays."""
        await self._store.set(whole_framework_key(key), value, ttl_seconds=ttl_seconds)

    async def get(self, key: str) -> RuntimeValue:
        """The value under a key."""
        return await self._store.get(whole_framework_key(key))

    async def delete(self, key: str) -> bool:
        """Remove a key; True when there was one."""
        return await self._store.delete(whole_framework_key(key))

    async def compare_and_set(
        self, key: str, expected: RuntimeValue, value: Any, *, ttl_seconds: float | None = None
    ) -> bool:
        """Put a value if the present one is still `expected`."""
        return await self._store.compare_and_set(whole_framework_key(key), expected, value, ttl_seconds=ttl_seconds)

    async def append(self, key: str, entry: Any, *, most: int, ttl_seconds: float | None = None) -> int:
        """Add an entry to a stream that keeps its newest `most`; the entry's number."""
        return await self._store.append(whole_framework_key(key), entry, most=most, ttl_seconds=ttl_seconds)

    async def entries(self, key: str, *, after: int = 0, limit: int = MOST_LISTED) -> list[StreamEntry]:
        """The entries of a stream behind number `after`, oldest first."""
        return await self._store.entries(whole_framework_key(key), after=after, limit=limit)

    async def keys(self, prefix: str = "", *, after: str = "", limit: int = MOST_LISTED) -> list[str]:
        """The keys that begin with `prefix`, without `uhlp:framework:`, in order."""
        own = whole_framework_key("")
        found = await self._store.keys(own + prefix, after=own + after if after else "", limit=limit)
        return [key.removeprefix(own) for key in found]

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every key that begins with `prefix`; how many there were."""
        return await self._store.delete_prefix(whole_framework_key(prefix))
