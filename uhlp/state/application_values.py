"""ApplicationValues: the runtime values of applications, each within its own keys and limits."""

import re
from typing import Any

from uhlp.errors import PayloadTooLarge, RuntimeQuotaExceeded, ValidationFailed
from uhlp.state.config import RuntimeLimits
from uhlp.state.runtime_store import (
    MAX_KEY_BYTES,
    RuntimeStore,
    RuntimeValue,
    StreamEntry,
    check_ttl,
    encode,
)

_APP_ID = re.compile(r"[a-z][a-z0-9-]{1,62}")


class ApplicationValues:
    """Everything stands under `uhlp:runtime:<appId>:<key>`: no application reaches another, nor the framework's keys.

    An application that holds its number of keys may change and remove them, but make no more. They are counted when
    as many writes have passed as there was room for, so that a write costs no count.
    """

    def __init__(self, *, store: RuntimeStore, limits: RuntimeLimits) -> None:
        self._store = store
        self._limits = limits
        self._room: dict[str, int] = {}

    async def set(self, app_id: str, key: str, value: Any, ttl_seconds: float | None = None) -> None:
        """Put a value; PayloadTooLarge, RuntimeQuotaExceeded."""
        whole = _whole_key(app_id, key)
        check_ttl(ttl_seconds)
        self._check_size(value)
        await self._make_room(app_id, whole)
        await self._store.set(whole, value, ttl_seconds=ttl_seconds)

    async def get(self, app_id: str, key: str) -> RuntimeValue:
        """The value under a key."""
        return await self._store.get(_whole_key(app_id, key))

    async def delete(self, app_id: str, key: str) -> bool:
        """Remove a value or a stream; True when there was one."""
        return await self._store.delete(_whole_key(app_id, key))

    async def increment(self, app_id: str, key: str, by: int) -> int:
        """Add to an integer; the sum."""
        whole = _whole_key(app_id, key)
        await self._make_room(app_id, whole)
        return await self._store.increment(whole, by)

    async def compare_and_set(
        self, app_id: str, key: str, expected: RuntimeValue, value: Any, ttl_seconds: float | None
    ) -> bool:
        """Put a value where the present one is the expected one."""
        whole = _whole_key(app_id, key)
        self._check_size(value)
        if not expected.found:
            await self._make_room(app_id, whole)
        return await self._store.compare_and_set(whole, expected, value, ttl_seconds=ttl_seconds)

    async def append(self, app_id: str, key: str, entry: Any, most: int | None, ttl_seconds: float | None) -> int:
        """Add an entry to a stream that keeps `most`, by default as many as the limit says; its number."""
        whole = _whole_key(app_id, key)
        if most is not None and most > self._limits.entries:
            raise ValidationFailed(f"a stream of an application keeps at most {self._limits.entries} entries")
        self._check_size(entry)
        await self._make_room(app_id, whole)
        return await self._store.append(whole, entry, most=most or self._limits.entries, ttl_seconds=ttl_seconds)

    async def entries(self, app_id: str, key: str, after: int, limit: int) -> list[StreamEntry]:
        """The entries of a stream behind number `after`, oldest first."""
        return await self._store.entries(_whole_key(app_id, key), after=after, limit=limit)

    async def keys(self, app_id: str, prefix: str, after: str, limit: int) -> list[str]:
        """The application's keys that begin with `prefix` and stand behind `after`, in order."""
        own = _whole_key(app_id, "")
        found = await self._store.keys(_whole_key(app_id, prefix), after=own + after if after else "", limit=limit)
        return [key.removeprefix(own) for key in found]

    async def delete_all(self, app_id: str) -> int:
        """Remove everything an application keeps; how many keys that were."""
        self._room.pop(app_id, None)
        return await self._store.delete_prefix(_whole_key(app_id, ""))

    def _check_size(self, value: Any) -> None:
        size = len(encode(value))
        if size > self._limits.value_bytes:
            raise PayloadTooLarge(f"the value has {size} bytes as JSON; at most {self._limits.value_bytes} are kept")

    async def _make_room(self, app_id: str, whole: str) -> None:
        """Returns when one key more may stand there, or `whole` does already."""
        room = self._room.get(app_id, 0)
        if room <= 0:
            room = self._limits.keys - await self._store.count(_whole_key(app_id, ""))
        if room <= 0 and not await self._stands(whole):
            raise RuntimeQuotaExceeded(
                f"{app_id} keeps {self._limits.keys} runtime keys, all it may (runtime.limits.keys); remove some",
                details={"appId": app_id, "keys": self._limits.keys},
            )
        self._room[app_id] = room - 1

    async def _stands(self, whole: str) -> bool:
        return whole in await self._store.keys(whole, limit=1)


def whole_framework_key(key: str) -> str:
    """A key of the framework's own, `uhlp:framework:<key>`."""
    return _checked(f"uhlp:framework:{key}")


def _whole_key(app_id: str, key: str) -> str:
    if not _APP_ID.fullmatch(app_id):
        raise ValidationFailed(f"{app_id!r} is not the id of an application")
    return _checked(f"uhlp:runtime:{app_id}:{key}")


def _checked(whole: str) -> str:
    try:
        size = len(whole.encode())
    except UnicodeEncodeError as error:
        raise ValidationFailed("the key is not valid Unicode") from error
    if size > MAX_KEY_BYTES or not whole.isprintable():
        raise ValidationFailed(f"a runtime key has printable characters only and at most {MAX_KEY_BYTES} bytes in all")
    return whole
