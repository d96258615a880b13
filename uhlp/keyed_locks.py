"""KeyedLocks: a lock for each key, for as long as somebody holds it or waits for it."""

import asyncio
from collections.abc import Hashable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)


class KeyedLocks(Generic[K]):
    """`async with locks[key]:` is one caller of a key at a time.

    Applications and candidates come and go as long as a server lives; locks that were kept by their names would not.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[K, asyncio.Lock] = WeakValueDictionary()

    def __getitem__(self, key: K) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    def __len__(self) -> int:
        """The keys that somebody holds or waits for."""
        return len(self._locks)
