"""The embedded runtime store: one SQLite file, one thread that owns it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from uhlp.clock import Clock, SystemClock
from uhlp.errors import RuntimeStoreUnavailable
from uhlp.sqlite_file import open_sqlite
from uhlp.state.runtime_store import (
    MISSING,
    MOST_LISTED,
    Lease,
    RuntimeValue,
    StreamEntry,
    check_increment,
    check_lease,
    check_limit,
    check_most,
    check_ttl,
    decode,
    encode,
    holds_a_stream,
    holds_a_value,
    sum_of,
)

T = TypeVar("T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runtime_values (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runtime_values_expiry ON runtime_values (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS runtime_entries (
  key TEXT, number INTEGER, value BLOB NOT NULL, PRIMARY KEY (key, number)
) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS runtime_stream_removed AFTER DELETE ON runtime_values WHEN old.value = x''
BEGIN DELETE FROM runtime_entries WHERE key = old.key; END;
CREATE TRIGGER IF NOT EXISTS runtime_stream_replaced AFTER UPDATE ON runtime_values
WHEN old.value = x'' AND new.value <> x''
BEGIN DELETE FROM runtime_entries WHERE key = old.key; END;
CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, holder TEXT, token INTEGER NOT NULL, expires_at REAL NOT NULL);
"""
_STREAM = b""
"""Stands for a value where a key holds a stream; no JSON is empty."""

_UPSERT = (
    "INSERT INTO runtime_values (key, value, expires_at) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"
)

_PREFIX = "key >= ? AND (? IS NULL OR key < ?)"
_LIVE_PREFIX = f"{_PREFIX} AND (expires_at IS NULL OR expires_at > ?)"


class SqliteRuntimeStore:
    """WAL, synchronous=NORMAL: a killed process loses nothing, a power cut at most the last moments.

    `path` may be `:memory:`. The file is opened by the first call. `run_cycle` removes values whose time ran out.
    """

    def __init__(self, path: Path | str, *, clock: Clock | None = None) -> None:
        self._path = path
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="runtime-store")
        self._connection: sqlite3.Connection | None = None

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> None:
        raw, ttl = encode(value), check_ttl(ttl_seconds)
        expires_at = None if ttl is None else self._clock.now() + ttl
        await self._run(lambda db: db.execute(_UPSERT, (key, raw, expires_at)))

    async def get(self, key: str) -> RuntimeValue:
        row = await self._run(lambda db: self._row(db, key))
        return MISSING if row is None else decode(_value(row[0], key))

    async def compare_and_set(
        self, key: str, expected: RuntimeValue, value: Any, *, ttl_seconds: float | None = None
    ) -> bool:
        before, raw, ttl = encode(expected.value) if expected.found else None, encode(value), check_ttl(ttl_seconds)
        expires_at = None if ttl is None else self._clock.now() + ttl

        def work(db: sqlite3.Connection) -> bool:
            row = self._row(db, key)
            if (None if row is None else _value(row[0], key)) != before:
                return False
            db.execute(_UPSERT, (key, raw, expires_at))
            return True

        return await self._run(work)

    async def delete(self, key: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            live = self._row(db, key) is not None
            db.execute("DELETE FROM runtime_values WHERE key = ?", (key,))
            return live

        return await self._run(work)

    async def increment(self, key: str, by: int = 1) -> int:
        check_increment(by)

        def work(db: sqlite3.Connection) -> int:
            row = self._row(db, key)
            total = by if row is None else sum_of(_value(row[0], key), by, key)
            db.execute(_UPSERT, (key, encode(total), None if row is None else row[1]))
            return total

        return await self._run(work)

    async def append(self, key: str, entry: Any, *, most: int, ttl_seconds: float | None = None) -> int:
        raw, most, ttl = encode(entry), check_most(most), check_ttl(ttl_seconds)

        def work(db: sqlite3.Connection) -> int:
            row = self._row(db, key)
            if row is None:
                db.execute("DELETE FROM runtime_values WHERE key = ?", (key,))  # one whose time ran out
            elif row[0] != _STREAM:
                raise holds_a_value(key)
            expires_at = self._clock.now() + ttl if ttl is not None else row[1] if row else None
            db.execute(_UPSERT, (key, _STREAM, expires_at))
            newest = db.execute("SELECT max(number) FROM runtime_entries WHERE key = ?", (key,)).fetchone()[0]
            number: int = (newest or 0) + 1
            db.execute("INSERT INTO runtime_entries VALUES (?, ?, ?)", (key, number, raw))
            db.execute("DELETE FROM runtime_entries WHERE key = ? AND number <= ?", (key, number - most))
            return number

        return await self._run(work)

    async def entries(self, key: str, *, after: int = 0, limit: int = MOST_LISTED) -> list[StreamEntry]:
        check_limit(limit)

        def work(db: sqlite3.Connection) -> list[StreamEntry]:
            row = self._row(db, key)
            if row is None:
                return []
            if row[0] != _STREAM:
                raise holds_a_value(key)
            statement = "SELECT number, value FROM runtime_entries WHERE key = ? AND number > ? ORDER BY number LIMIT ?"
            return [
                StreamEntry(number, decode(raw).value) for number, raw in db.execute(statement, (key, after, limit))
            ]

        return await self._run(work)

    async def keys(self, prefix: str, *, after: str = "", limit: int = MOST_LISTED) -> list[str]:
        statement = f"SELECT key FROM runtime_values WHERE {_LIVE_PREFIX} AND key > ? ORDER BY key LIMIT ?"  # noqa: S608
        values = (*_bounds(prefix), self._clock.now(), after, check_limit(limit))
        return await self._run(lambda db: [row[0] for row in db.execute(statement, values)])

    async def count(self, prefix: str) -> int:
        values = (*_bounds(prefix), self._clock.now())
        return await self._run(lambda db: _count(db, values))

    async def delete_prefix(self, prefix: str) -> int:
        bounds, now = _bounds(prefix), self._clock.now()

        def work(db: sqlite3.Connection) -> int:
            live = _count(db, (*bounds, now))
            db.execute(f"DELETE FROM runtime_values WHERE {_PREFIX}", bounds)  # noqa: S608
            return live

        return await self._run(work)

    async def take_lease(self, key: str, holder: str, *, ttl_seconds: float, above: int = 0) -> Lease:
        ttl = check_lease(ttl_seconds, above)

        def work(db: sqlite3.Connection) -> Lease:
            held = self._lease(db, key)
            if held is None:
                row = db.execute("SELECT token FROM leases WHERE key = ?", (key,)).fetchone()
                held = Lease(holder, max(above, row[0] if row else 0) + 1)
            if held.holder == holder:
                values = (key, holder, held.token, self._clock.now() + ttl)
                db.execute("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", values)
            return held

        return await self._run(work)

    async def release_lease(self, key: str, holder: str) -> bool:
        def work(db: sqlite3.Connection) -> bool:
            held = self._lease(db, key)
            if held is None or held.holder != holder:
                return False
            db.execute("UPDATE leases SET holder = NULL WHERE key = ?", (key,))  # its token is never given again
            return True

        return await self._run(work)

    async def lease(self, key: str) -> Lease | None:
        return await self._run(lambda db: self._lease(db, key))

    async def ping(self) -> None:
        await self._run(lambda db: db.execute("SELECT 1").fetchone())

    async def run_cycle(self) -> None:
        """Remove values whose time ran out."""
        now = self._clock.now()
        await self._run(lambda db: db.execute("DELETE FROM runtime_values WHERE expires_at <= ?", (now,)))

    async def aclose(self) -> None:
        def close() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` as one transaction in the store's thread."""

        def transaction() -> T:
            try:
                db = self._opened()
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    return work(db)
            except (sqlite3.Error, OSError) as error:
                raise RuntimeStoreUnavailable(f"the runtime store {self._path} fails: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            db = open_sqlite(self._path, any_thread=False)
            db.executescript(_SCHEMA)
            self._connection = db
        return self._connection

    def _lease(self, db: sqlite3.Connection, key: str) -> Lease | None:
        statement = "SELECT holder, token FROM leases WHERE key = ? AND holder IS NOT NULL AND expires_at > ?"
        row = db.execute(statement, (key, self._clock.now())).fetchone()
        return None if row is None else Lease(*row)

    def _row(self, db: sqlite3.Connection, key: str) -> tuple[bytes, float | None] | None:
        statement = "SELECT value, expires_at FROM runtime_values WHERE key = ?"
        row: tuple[bytes, float | None] | None = db.execute(statement, (key,)).fetchone()
        return None if row is None or (row[1] is not None and row[1] <= self._clock.now()) else row


def _value(raw: bytes, key: str) -> bytes:
    """What stands in a row, if it is a value."""
    if raw == _STREAM:
        raise holds_a_stream(key)
    return raw


def _bounds(prefix: str) -> tuple[str, str | None, str | None]:
    """What `_PREFIX` asks for: the first key with this prefix, and (twice) the first one behind all of them."""
    head = prefix.rstrip("\U0010ffff")
    if not head:
        return prefix, None, None
    after = ord(head[-1]) + 1
    end = head[:-1] + chr(0xE000 if after == 0xD800 else after)  # surrogates are no text
    return prefix, end, end


def _count(db: sqlite3.Connection, values: tuple[Any, ...]) -> int:
    found: int = db.execute(f"SELECT count(*) FROM runtime_values WHERE {_LIVE_PREFIX}", values).fetchone()[0]  # noqa: S608
    return found
