"""The SQLite side of access tokens, used from one thread: two tables in `<data>/evolution.db`."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uhlp.access.administrator import Administrator, Role
from uhlp.sqlite_file import open_sqlite

_TABLES = """
CREATE TABLE IF NOT EXISTS access_tokens (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, role TEXT NOT NULL, digest BLOB NOT NULL, created_at REAL NOT NULL,
    created_by TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS access_days (id TEXT PRIMARY KEY, day TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class KeptToken:
    """What is kept of a token: whose it is, the SHA-256 of the whole token, who made it and when (epoch seconds)."""

    holder: Administrator
    digest: bytes
    created_at: float
    created_by: str


class TokenTable:
    """Blocking; every method is one transaction."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def open(self) -> tuple[list[KeptToken], dict[str, str]]:
        """All tokens, oldest first, and the day each was last used (ISO) by id."""
        self._connection = open_sqlite(self._path, synchronous="FULL")
        self._connection.executescript(_TABLES)
        rows = self._connection.execute(
            "SELECT id, name, role, digest, created_at, created_by FROM access_tokens ORDER BY created_at, id"
        )
        tokens = [KeptToken(Administrator(one, name, Role(role)), *kept) for one, name, role, *kept in rows]
        return tokens, dict(self._connection.execute("SELECT id, day FROM access_days"))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def put(self, token: KeptToken) -> None:
        holder = token.holder
        self._db.execute(
            "INSERT INTO access_tokens VALUES (?, ?, ?, ?, ?, ?)",
            (holder.token_id, holder.name, str(holder.role), token.digest, token.created_at, token.created_by),
        )

    def delete(self, token_id: str) -> None:
        self._db.execute("DELETE FROM access_tokens WHERE id = ?", (token_id,))

    def put_days(self, days: Mapping[str, str]) -> None:
        self._db.executemany("INSERT OR REPLACE INTO access_days VALUES (?, ?)", list(days.items()))

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the access tokens are not open")
        return self._connection
