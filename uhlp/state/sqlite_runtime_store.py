"""The embedded runtime store: one SQLite file, one thread that owns it."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from uhlp.clock import Clock, SystemClock
from uhlp.errors import RuntimeStoreUnavailable
from uhlp.state.runtime_store import (
    MISSING,
    Lease,
    RuntimeValue,
    check_increment,
    check_lease,
    check_ttl,
    decode,
    encode,
    sum_of,
)

T = TypeVar("T")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runtime_values (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires_at REAL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runtime_values_expiry ON runtime_values (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS leases (key TEXT PRIMARY KEY, holder TEXT, token INTEGER NOT NULL, expires_at REAL NOT NULL);
"""
_UPSERT = (
    "INSERT INTO runtime_values (key, value, expires_at) VALUES (?, ?, ?)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at"
)


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
        return MISSING if row is None else decode(row[0])

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
            total = by if row is None else sum_of(row[0], by, key)
            db.execute(_UPSERT, (key, encode(total), None if row is None else row[1]))
            return total

        return await self._run(work)

    async def delete_prefix(self, prefix: str) -> int:
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        statement = "DELETE FROM runtime_values WHERE key >= ? AND key < ?"
        return await self._run(lambda db: db.execute(statement, (prefix, end)).rowcount)

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
            except sqlite3.Error as error:
                raise RuntimeStoreUnavailable(f"the runtime store {self._path} fails: {error}") from error

        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
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
