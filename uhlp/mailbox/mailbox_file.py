"""MailboxFile: one SQLite file of mailboxes, and the thread that owns it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from uhlp.clock import Clock, SystemClock
from uhlp.errors import MailboxClosed, MailboxUnavailable
from uhlp.sqlite_file import open_sqlite

T = TypeVar("T")
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS mailboxes (
        name TEXT PRIMARY KEY, counter INTEGER NOT NULL DEFAULT 0, kept INTEGER NOT NULL DEFAULT 0, expires_at REAL,
        bytes INTEGER NOT NULL DEFAULT 0
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS mailboxes_that_end ON mailboxes (expires_at) WHERE expires_at IS NOT NULL",
    """CREATE TABLE IF NOT EXISTS messages (
        id TEXT NOT NULL, mailbox TEXT NOT NULL, position INTEGER NOT NULL, due_at REAL, token INTEGER,
        deliveries INTEGER NOT NULL DEFAULT 0, body BLOB NOT NULL, reply_to TEXT NOT NULL, in_reply_to TEXT NOT NULL,
        enqueued_at REAL NOT NULL, reason TEXT, died_at REAL, PRIMARY KEY (mailbox, id)
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS messages_ready ON messages (mailbox, position) WHERE due_at IS NULL",
    "CREATE INDEX IF NOT EXISTS messages_due ON messages (mailbox, due_at) WHERE due_at IS NOT NULL",
    """CREATE TRIGGER IF NOT EXISTS message_added AFTER INSERT ON messages BEGIN
        UPDATE mailboxes SET kept = kept + 1, bytes = bytes + length(new.body) WHERE name = new.mailbox;
    END""",
    """CREATE TRIGGER IF NOT EXISTS message_removed AFTER DELETE ON messages BEGIN
        UPDATE mailboxes SET kept = kept - 1, bytes = bytes - length(old.body) WHERE name = old.mailbox;
    END""",
    """CREATE TRIGGER IF NOT EXISTS message_moved AFTER UPDATE OF mailbox ON messages BEGIN
        UPDATE mailboxes SET kept = kept - 1, bytes = bytes - length(old.body) WHERE name = old.mailbox;
        UPDATE mailboxes SET kept = kept + 1, bytes = bytes + length(new.body) WHERE name = new.mailbox;
    END""",
)
# A row of `messages` is in one place: dead when its mailbox is `<name>:dead`; else leased when it has a token, delayed
# when it has only a time, ready when it has neither. `kept` counts the rows of a mailbox, `bytes`
# those of their bodies.

_COUNT_BYTES = (
    "ALTER TABLE mailboxes ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
    """UPDATE mailboxes SET bytes =
        (SELECT coalesce(sum(length(body)), 0) FROM messages WHERE messages.mailbox = mailboxes.name)""",
    *(f"DROP TRIGGER message_{name}" for name in ("added", "removed", "moved")),
)
"""Of a file that was made before bytes were counted."""


class MailboxFile:
    """WAL, synchronous=NORMAL: a killed process loses nothing, a power cut at most the last moments.

    `path` may be `:memory:`; the file is opened by the first call. Several processes may work on one file, unless one
    says that it `is_own`: it hears of every message at once, and need not look for others'. Every time in it is this
    clock's.
    """

    def __init__(self, path: Path | str, *, clock: Clock | None = None, is_own: bool = False) -> None:
        self._path = path
        self.is_own = is_own
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mailbox")
        self._connection: sqlite3.Connection | None = None
        self._is_closed = False
        self._bells: dict[str, set[LocalBell]] = {}

    async def run(self, work: Callable[[sqlite3.Connection, float], T]) -> T:
        """Run `work(connection, now)` as one transaction in the file's thread."""

        def transaction() -> T:
            try:
                db = self._opened()
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    return work(db, self._clock.now())
            except (sqlite3.Error, OSError) as error:
                raise MailboxUnavailable(f"the mailboxes in {self._path} fail: {error}", retry_after_s=1.0) from error

        if self._is_closed:
            raise MailboxClosed("the file of the mailbox is closed")
        return await asyncio.get_running_loop().run_in_executor(self._thread, transaction)

    @asynccontextmanager
    async def bell(self, name: str) -> AsyncIterator["LocalBell"]:
        """What `ring(name)` rings."""
        bell = LocalBell()
        self._bells.setdefault(name, set()).add(bell)
        try:
            yield bell
        finally:
            self._bells[name].discard(bell)
            if not self._bells[name]:
                del self._bells[name]

    def ring(self, name: str) -> None:
        for bell in self._bells.get(name, ()):
            bell.ring()

    async def aclose(self) -> None:
        """Let go of the file; every later call raises MailboxClosed."""
        if self._is_closed:
            return

        def close() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        self._is_closed = True
        for name in list(self._bells):
            self.ring(name)
        await asyncio.get_running_loop().run_in_executor(self._thread, close)
        self._thread.shutdown(wait=False)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            db = open_sqlite(self._path, any_thread=False)
            with db:
                db.execute("BEGIN IMMEDIATE")
                columns = {row[1] for row in db.execute("PRAGMA table_info (mailboxes)")}
                for statement in (*(_COUNT_BYTES if columns and "bytes" not in columns else ()), *_SCHEMA):
                    db.execute(statement)
            self._connection = db
        return self._connection


class LocalBell:
    """Rings within one event loop."""

    def __init__(self) -> None:
        self._rang = asyncio.Event()

    def ring(self) -> None:
        self._rang.set()

    async def wait(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._rang.wait()
        except TimeoutError:
            return
        self._rang.clear()
