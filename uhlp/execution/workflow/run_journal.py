"""RunJournal: what runs of workflows have done, in one SQLite file with one thread of its own.

An entry that was flushed survives the death of the process. Entries reach the file in the order in which they were
appended, many in one transaction: a run waits for the disk once a step, and many runs wait together.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, TypeVar

import structlog

from uhlp.errors import Unavailable
from uhlp.execution.workflow.journal_table import SCHEMA, write_entry
from uhlp.execution.workflow.records import Entry
from uhlp.sqlite_file import open_sqlite

log = structlog.get_logger(__name__)

T = TypeVar("T")
Question = Callable[[sqlite3.Connection], T]

_BATCH = 500
MOST_WAITING = 100_000
"""Entries that wait for a disk which fails; then runs are told at once."""


class RunJournal:
    """`append` never waits; `flush` returns when everything appended before is in the file."""

    def __init__(
        self,
        path: Path,
        *,
        kept_value_bytes: int = 16 * 1024,
        survive_power_cuts: bool = False,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._path = path
        self._most_waiting = most_waiting
        self._kept_value_bytes = kept_value_bytes
        self._synchronous: Literal["NORMAL", "FULL"] = "FULL" if survive_power_cuts else "NORMAL"
        self._queue: SimpleQueue[Entry | _Question | None] = SimpleQueue()
        self._unwritten: list[Entry] = []
        self._connection: sqlite3.Connection | None = None
        self._thread: threading.Thread | None = None

    async def open(self) -> None:
        """Raises Unavailable when the file cannot be used."""

        def connect() -> sqlite3.Connection:
            connection = open_sqlite(self._path, synchronous=self._synchronous)
            connection.execute("PRAGMA secure_delete = ON")
            connection.executescript(SCHEMA)
            return connection

        try:
            self._connection = await asyncio.to_thread(connect)
        except sqlite3.Error as error:
            raise Unavailable(f"the workflows in {self._path} cannot be opened: {error}") from error
        self._thread = threading.Thread(target=self._work, args=(self._connection,), name="workflows", daemon=True)
        self._thread.start()

    def append(self, entry: Entry) -> None:
        """Write it after everything appended before. Raises Unavailable when the file takes nothing any more."""
        if self._thread is None:
            raise Unavailable("the journal of workflows is closed")
        if self._queue.qsize() + len(self._unwritten) > self._most_waiting:
            raise Unavailable(f"the workflows in {self._path} are not written", retry_after_s=5.0)
        self._queue.put(entry)

    async def flush(self) -> None:
        """Raises Unavailable with the reason when something could not be written; it is tried again at the next."""
        await self.ask(lambda connection: None)

    async def ask(self, question: Question[T]) -> T:
        """The answer of `question(connection)`, in a transaction of its own, after everything appended before. What it
        changes is changed as a whole, or, where it raises, not at all."""
        if self._thread is None:
            raise Unavailable("the journal of workflows is closed")
        asked = _Question(question, asyncio.get_running_loop())
        self._queue.put(asked)
        answer: T = await asked.answer
        return answer

    async def aclose(self) -> None:
        """Write what was appended, then let go of the file."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        self._queue.put(None)
        await asyncio.to_thread(thread.join)

    def _work(self, db: sqlite3.Connection) -> None:
        while True:
            taken = [self._queue.get()]
            while len(taken) < _BATCH:
                try:
                    taken.append(self._queue.get_nowait())
                except Empty:
                    break
            self._unwritten += [one for one in taken if not isinstance(one, _Question) and one is not None]
            failure = self._write(db)
            for one in taken:
                if isinstance(one, _Question):
                    one.reply(db, failure)
            if None in taken:
                db.close()
                return

    def _write(self, db: sqlite3.Connection) -> Unavailable | None:
        """All that is unwritten as one transaction; it stays unwritten when the disk refuses it."""
        if not self._unwritten:
            return None
        try:
            db.execute("BEGIN IMMEDIATE")
            for entry in self._unwritten:
                self._write_one(db, entry)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:  # a full disk has ended it already
                db.execute("ROLLBACK")
            log.error("workflows_not_written", entries=len(self._unwritten), why=str(error))
            return Unavailable(f"the workflows in {self._path} are not written: {error}", retry_after_s=5.0)
        self._unwritten.clear()
        return None

    def _write_one(self, db: sqlite3.Connection, entry: Entry) -> None:
        """What no disk would ever take is left out: all others would wait for it."""
        try:
            write_entry(db, entry, self._kept_value_bytes)
        except Exception as error:
            if isinstance(error, sqlite3.Error) and not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
                raise
            log.exception("workflow_entry_left_out", kind=type(entry).__name__)


class _Question:
    """A question on its way to the thread, and its answer on the way back."""

    def __init__(self, question: Question[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._question = question
        self._loop = loop
        self.answer: asyncio.Future[Any] = loop.create_future()

    def reply(self, db: sqlite3.Connection, failure: Exception | None) -> None:
        value: Any = None
        if failure is None:
            try:
                db.execute("BEGIN")
                value = self._question(db)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                failure = Unavailable(f"the workflows fail: {error}", retry_after_s=5.0)
            except Exception as error:
                failure = error
            if db.in_transaction:
                db.execute("ROLLBACK")
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._deliver, value, failure)

    def _deliver(self, value: Any, failure: Exception | None) -> None:
        if self.answer.done():  # the asker was cancelled
            return
        if failure is None:
            self.answer.set_result(value)
        else:
            self.answer.set_exception(failure)
