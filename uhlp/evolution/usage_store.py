"""UsageStore: the counts of the usage book in `<data>/evolution.db`, so that a restart resets no day and no total.

Counts are kept whole, once a cycle and at the end; a crash loses those of one cycle. Days are kept apart for 35 days;
what is older is added up under day 0, so that totals stay and the table does not grow with time. They are figures, no
decisions: the ledger does not vouch for them.
"""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from uhlp.errors import Unavailable
from uhlp.llm.usage import USE_FIELDS, UsageBook, Use, UseKey
from uhlp.sqlite_file import open_sqlite

T = TypeVar("T")
UseRow = tuple[UseKey, Use]

_TABLE = """
CREATE TABLE IF NOT EXISTS usage (
    day INTEGER NOT NULL, app_id TEXT NOT NULL, component_id TEXT NOT NULL, kind TEXT NOT NULL,
    candidate_id TEXT NOT NULL,
    calls INTEGER NOT NULL, failed INTEGER NOT NULL, refused INTEGER NOT NULL, tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL, usd REAL NOT NULL, unpriced INTEGER NOT NULL, unpriced_tokens INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (app_id, component_id, day, kind, candidate_id)) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS usage_by_candidate ON usage (candidate_id, app_id);
"""
DAYS_KEPT = 35
"""Today and the days before it that can still be told apart."""
EARLIER = 0
"""The day under which all before them are added up."""
NO_CANDIDATE = ""
"""Whose rows are every model call's, and the requests that no candidate took part in: a few for each component and day,
however many candidates there were."""

_COLUMNS = ", ".join((*UseKey._fields, *USE_FIELDS))
_KEEP = f"INSERT OR REPLACE INTO usage ({_COLUMNS}) VALUES ({', '.join('?' * (len(UseKey._fields) + len(USE_FIELDS)))})"  # noqa: S608  own names
_ADD_UP = f"""
INSERT INTO usage ({_COLUMNS})
SELECT {EARLIER}, {", ".join(UseKey._fields[1:])}, {", ".join(f"SUM({name})" for name in USE_FIELDS)}
FROM usage WHERE day > {EARLIER} AND day < ? GROUP BY {", ".join(UseKey._fields[1:])}
ON CONFLICT DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in USE_FIELDS)}
"""  # noqa: S608  own names
_FORGET = f"DELETE FROM usage WHERE day > {EARLIER} AND day < ?"  # noqa: S608  a number


class UsageStore:
    """Open it with `async with`; it fills the book with what was kept of today. `run_cycle` keeps what has grown."""

    def __init__(self, *, path: Path, book: UsageBook) -> None:
        self._path = path
        self._book = book
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="usage-db")
        self._connection: sqlite3.Connection | None = None
        self._added_up_on = 0

    async def __aenter__(self) -> Self:
        await self._run(self._open)
        rows = await self._run(self._select, {"day": self._book.day})
        self._book.restore(dict(rows))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.run_cycle()
        finally:
            await self._run(self._close)
            self._thread.shutdown()

    async def run_cycle(self) -> None:
        """Keep what has grown since the last cycle. Raises Unavailable, and tries the same again next time."""
        rows = self._book.changed()
        if rows:
            try:
                await self._run(self._keep, rows)
            except BaseException:
                self._book.give_back(rows)
                raise
        if self._book.day != self._added_up_on:
            await self._run(self._add_up, self._book.day - DAYS_KEPT + 1)
            self._added_up_on = self._book.day

    async def rows(
        self,
        *,
        app_id: str | None = None,
        component_id: str | None = None,
        kind: str | None = None,
        candidate_id: str | None = None,
    ) -> list[UseRow]:
        """Every count that matches, of all days (`EARLIER` is one of them), today's as they stand now. Without a
        candidate (`NO_CANDIDATE` for none) there are rows for every one that ever served.
        """
        await self.run_cycle()
        wanted = {"app_id": app_id, "component_id": component_id, "kind": kind, "candidate_id": candidate_id}
        return await self._run(self._select, {name: value for name, value in wanted.items() if value is not None})

    def _open(self) -> None:
        self._connection = open_sqlite(self._path)
        self._connection.executescript(_TABLE)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _keep(self, rows: Sequence[UseRow]) -> None:
        with self._transaction() as db:
            db.executemany(_KEEP, [(*key, *(getattr(use, name) for name in USE_FIELDS)) for key, use in rows])

    def _add_up(self, first_kept: int) -> None:
        with self._transaction() as db:
            db.execute(_ADD_UP, (first_kept,))
            db.execute(_FORGET, (first_kept,))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            raise

    def _select(self, wanted: Mapping[str, Any]) -> list[UseRow]:
        where = " AND ".join(f"{name} = ?" for name in wanted) or "true"
        # SQLite would search by application, through the rows of all of its candidates
        table = "usage INDEXED BY usage_by_candidate" if "candidate_id" in wanted else "usage"
        query = f"SELECT {_COLUMNS} FROM {table} WHERE {where} ORDER BY day, app_id, component_id, kind, candidate_id"  # noqa: S608  fixed names
        place = len(UseKey._fields)
        return [(UseKey(*row[:place]), Use(*row[place:])) for row in self._db.execute(query, tuple(wanted.values()))]

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the usage store is not open")
        return self._connection

    async def _run(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        except sqlite3.OperationalError as error:
            raise Unavailable(f"the usage table in {self._path} fails: {error}") from error
