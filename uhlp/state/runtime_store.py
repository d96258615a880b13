"""RuntimeStore: ephemeral JSON values and streams by key. SQLite and Redis implement it, under one contract suite."""

from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from uhlp.errors import Conflict, ValidationFailed

MAX_KEY_BYTES = 512
_INT64 = 2**63
_MOST_TOKENS = 2**53
"""Redis counts leases in doubles."""
MOST_ENTRIES = 100_000
"""The longest stream."""
MOST_LISTED = 10_000
"""Keys or entries of one answer."""


@dataclass(frozen=True, slots=True)
class RuntimeValue:
    """What stands under a key; `value` may be None although it was found."""

    found: bool
    value: Any = None


MISSING = RuntimeValue(found=False)


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of a stream. `number` counts from 1 and goes on when old entries have been dropped."""

    number: int
    value: Any


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a lease. `token` is one above every earlier holder's: what is written under a lower one comes late."""

    holder: str
    token: int


class RuntimeStore(Protocol):
    """Keys are whole (`uhlp:runtime:<appId>:<key>`), values JSON. Raises RuntimeStoreUnavailable when down.

    A key holds a value or a stream. Reading or changing the one as the other is a Conflict; `set`, `delete` and
    `delete_prefix` take either away.
    """

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> None:
        """Put a value; it goes after `ttl_seconds`, or stays. An older limit is forgotten."""
        ...

    async def get(self, key: str) -> RuntimeValue:
        """The value, if it is there and its time has not run out."""
        ...

    async def compare_and_set(
        self, key: str, expected: RuntimeValue, value: Any, *, ttl_seconds: float | None = None
    ) -> bool:
        """Put a value if the present one is still `expected` (MISSING: if there is none); whether it was put.

        Values are the same when their JSON is, whatever the order of keys; 1 and 1.0 differ.
        """
        ...

    async def delete(self, key: str) -> bool:
        """Remove a key; True when there was one."""
        ...

    async def increment(self, key: str, by: int = 1) -> int:
        """Add to an integer, atomically; a missing key counts from 0, a time limit stays. Conflict: not an integer."""
        ...

    async def append(self, key: str, entry: Any, *, most: int, ttl_seconds: float | None = None) -> int:
        """Add an entry to a stream, which keeps its newest `most`; the entry's number.

        With `ttl_seconds` the whole stream goes that long after; without, an earlier limit stays.
        """
        ...

    async def entries(self, key: str, *, after: int = 0, limit: int = MOST_LISTED) -> list[StreamEntry]:
        """The oldest `limit` entries of a stream that are numbered above `after`; none of a missing key."""
        ...

    async def keys(self, prefix: str, *, after: str = "", limit: int = MOST_LISTED) -> list[str]:
        """The first `limit` keys that begin with `prefix` and stand behind `after`, in order of their code points."""
        ...

    async def count(self, prefix: str) -> int:
        """How many keys begin with `prefix`."""
        ...

    async def delete_prefix(self, prefix: str) -> int:
        """Remove every key that begins with `prefix`; how many there were."""
        ...

    async def take_lease(self, key: str, holder: str, *, ttl_seconds: float, above: int = 0) -> Lease:
        """Take a lease that nobody holds, or renew one's own; the lease in force, whosever it is.

        It ends `ttl_seconds` after it was taken or renewed last. A renewed lease keeps its token; one that is taken,
        also by who held it before, has a token above every earlier one of this key and above `above` (what the caller
        knows from elsewhere, should the store have forgotten). Keys of leases and of values are apart.
        """
        ...

    async def release_lease(self, key: str, holder: str) -> bool:
        """End one's own lease before its time; False when it is not one's own (any more)."""
        ...

    async def lease(self, key: str) -> Lease | None:
        """Who holds it now, if anybody."""
        ...

    async def run_cycle(self) -> None:
        """Remove what has run out of time, where the server does not do so by itself."""
        ...

    async def ping(self) -> None:
        """Answer, or raise RuntimeStoreUnavailable."""
        ...

    async def aclose(self) -> None:
        """Let go of files and connections."""
        ...


def encode(value: Any) -> bytes:
    """A value as JSON, keys in order; ValidationFailed when it is none."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ValidationFailed(f"the value is not JSON: {error}") from error


def decode(raw: bytes | str) -> RuntimeValue:
    """What `encode` made."""
    return RuntimeValue(found=True, value=orjson.loads(raw))


def check_ttl(ttl_seconds: float | None) -> float | None:
    """A time limit in seconds, above zero and below 100 years."""
    if ttl_seconds is not None and not 0 < ttl_seconds < 3_155_760_000:
        raise ValidationFailed("ttlSeconds must be above 0 and below 100 years")
    return ttl_seconds


def check_most(most: int) -> int:
    """How many entries a stream keeps."""
    if not 1 <= most <= MOST_ENTRIES:
        raise ValidationFailed(f"a stream keeps 1 to {MOST_ENTRIES} entries")
    return most


def check_limit(limit: int) -> int:
    """How many keys or entries are asked for at once."""
    if not 1 <= limit <= MOST_LISTED:
        raise ValidationFailed(f"limit must be from 1 to {MOST_LISTED}")
    return limit


def check_lease(ttl_seconds: float, above: int) -> float:
    """The time of a lease in seconds."""
    ttl = check_ttl(ttl_seconds)
    if ttl is None or not 0 <= above < _MOST_TOKENS:
        raise ValidationFailed("a lease has a time limit, and tokens are no negative numbers")
    return ttl


def check_increment(by: int) -> int:
    """An increment that fits 64 bits."""
    if not -_INT64 <= by < _INT64:
        raise ValidationFailed("by must fit a signed 64-bit integer")
    return by


def not_an_integer(key: str) -> Conflict:
    """The error of an increment that has nothing to add to."""
    return Conflict(f"the value of {key} is not an integer of 64 bits, or would not be one", details={"key": key})


def holds_a_stream(key: str) -> Conflict:
    """The error of whoever takes a stream for a value."""
    return Conflict(f"{key} holds a stream, not a value", details={"key": key})


def holds_a_value(key: str) -> Conflict:
    """The error of whoever takes a value for a stream."""
    return Conflict(f"{key} holds a value, not a stream", details={"key": key})


def sum_of(raw: bytes, by: int, key: str) -> int:
    """The integer in `raw` plus `by`."""
    present = orjson.loads(raw)
    if type(present) is not int or not -_INT64 <= present + by < _INT64:
        raise not_an_integer(key)
    return present + by
