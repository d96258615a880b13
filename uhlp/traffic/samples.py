"""SampleStore: what components were asked and answered, bounded, in one SQLite file with one thread of its own."""

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, TypeVar

import structlog

from uhlp.catalogue import server
from uhlp.clock import Clock
from uhlp.errors import Unavailable
from uhlp.hot_record import hot_record
from uhlp.metering import Meter, NullMeter
from uhlp.sqlite_file import open_sqlite
from uhlp.traffic.adjudications import Adjudications
from uhlp.traffic.importing import ImportedRow
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.retention import Retention
from uhlp.traffic.split import Split, input_hash, split_of
from uhlp.traffic.table import SCHEMA, SampleCounts, count_samples, insert_sample, new_id, select_sample, select_samples

log = structlog.get_logger(__name__)

Source = Literal["live", "import", "golden", "audit"]
T = TypeVar("T")

_BATCH = 50
_PAUSE_S = 0.05
"""The writer works in small strokes, so that it never holds up the server for long: at most 1,000 samples a second."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answered request. `ts` in seconds since the epoch; `latency_ms` is None for imported ones.

    `output` of a failed one (`ok` false) says what went wrong. `input_hash` is of the input as it came, before
    redaction, so that it names the same side of the split as the live request does.
    """

    id: str
    app_id: str
    component_id: str
    ts: float
    input: Any
    output: Any
    implementation: str
    handler: str
    latency_ms: float | None
    tokens_in: int
    tokens_out: int
    cost_usd: float | None
    ok: bool
    trace_id: str
    source: Source
    spec_hash: str
    input_hash: str
    split: Split


@hot_record()
class _Write:
    """A sample on its way, with the redaction that the writer applies."""

    fields: dict[str, Any]
    redact: tuple[str, ...]


class SampleStore:
    """Keeps for each component the newest samples, a uniform reservoir of all, and its failures.

    `record` never waits: when `queue_size` samples are on their way, further ones are dropped and counted (failures
    at twice that), so sustained traffic above the writer's pace is thinned. Reads see everything kept before them.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock: Clock,
        newest: int = 5_000,
        reservoir: int = 5_000,
        failures: int = 1_000,
        queue_size: int = 5_000,
        meter: Meter | None = None,
    ) -> None:
        self._clock = clock
        self._queue_size = queue_size
        self._queue: SimpleQueue[_Write | Callable[[sqlite3.Connection], None] | None] = SimpleQueue()
        self._asked = self._answered = 0
        self._hurry = threading.Event()
        self._retention = Retention(newest=newest, reservoir=reservoir, failures=failures)
        self._dropped = server.SAMPLES_DROPPED.on(meter or NullMeter())
        self.dropped = 0
        self._path = path
        self._connection = open_sqlite(path)
        self._connection.executescript(SCHEMA)
        self.adjudications = Adjudications(connection=self._connection, ask=self._ask)
        self._thread = threading.Thread(target=self._work, name="samples", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Samples on their way to the disk."""
        return self._queue.qsize()

    def record(self, sample: Sample, *, redact: Sequence[str] = ()) -> None:
        """Keep a sample; its `input_hash` and `split` stand as they are. Never waits."""
        self._offer({name: getattr(sample, name) for name in Sample.__slots__}, redact)

    def record_served(
        self,
        app_id: str,
        component_id: str,
        *,
        input: Any,  # noqa: A002 (the word of the contract)
        output: Any,
        implementation: str,
        handler: str,
        latency_ms: float | None,
        tokens_in: int,
        tokens_out: int,
        cost_usd: float | None,
        ok: bool,
        trace_id: str,
        spec_hash: str,
        redact: Sequence[str] = (),
        source: Source = "live",
    ) -> None:
        """Keep a request that was just answered; identity, time and split are filled in. Never waits."""
        self._offer(
            {
                "app_id": app_id, "component_id": component_id, "ts": self._clock.now(),
                "input": input, "output": output, "implementation": implementation, "handler": handler,
                "latency_ms": latency_ms, "tokens_in": tokens_in, "tokens_out": tokens_out, "cost_usd": cost_usd,
                "ok": ok, "trace_id": trace_id, "source": source, "spec_hash": spec_hash,
            },
            redact,
        )  # fmt: skip

    async def import_samples(
        self,
        app_id: str,
        component_id: str,
        rows: Sequence[ImportedRow],
        *,
        spec_hash: str,
        redact: Sequence[str] = (),
        implementation: str = "import",
    ) -> int:
        """Keep a log's rows as answers of the model; the number kept. Waits instead of dropping."""
        now = self._clock.now()
        writes = [
            _Write(
                {
                    "app_id": app_id, "component_id": component_id, "ts": now, "input": row.input, "output": row.output,
                    "implementation": implementation, "handler": "llm", "latency_ms": None, "tokens_in": 0,
                    "tokens_out": 0, "cost_usd": None, "ok": True, "trace_id": "", "source": "import",
                    "spec_hash": spec_hash,
                },
                tuple(redact),
            )
            for row in rows
        ]  # fmt: skip

        def insert_all(connection: sqlite3.Connection) -> int:
            connection.execute("BEGIN")
            try:
                for write in writes:
                    self._insert(connection, write)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # a full disk has ended it already
                    connection.execute("ROLLBACK")
                raise
            return len(writes)

        return await self._ask(insert_all)

    async def samples(
        self,
        app_id: str,
        component_id: str,
        *,
        split: Split | None = None,
        ok: bool | None = True,
        handler: str | None = None,
        spec_hash: str | None = None,
        limit: int = 10_000,
    ) -> list[Sample]:
        """Samples of a component, newest first; each filter that is None lets everything through."""
        filters = {"split": split, "ok": ok, "handler": handler, "spec_hash": spec_hash}
        rows = await self._ask(lambda connection: select_samples(connection, app_id, component_id, filters, limit))
        return [Sample(**row) for row in rows]

    async def counts(self, app_id: str, component_id: str) -> SampleCounts:
        """What is kept of a component now."""
        return await self._ask(lambda connection: count_samples(connection, app_id, component_id))

    async def count_since(self, app_id: str, component_id: str, ts: float) -> int:
        """How many kept samples are newer than `ts` (seconds since the epoch)."""
        query = "SELECT count(*) FROM samples WHERE app_id = ? AND component_id = ? AND ts > ?"
        return await self._ask(lambda db: int(db.execute(query, (app_id, component_id, ts)).fetchone()[0]))

    async def delete_application(self, app_id: str) -> int:
        """Forget everything about an application; the number of samples removed."""
        await self.adjudications.delete_application(app_id)

        def delete(connection: sqlite3.Connection) -> int:
            number = connection.execute("DELETE FROM samples WHERE app_id = ?", (app_id,)).rowcount
            self._retention.forget(app_id)
            return number

        return await self._ask(delete)

    async def sample(self, app_id: str, sample_id: str) -> Sample | None:
        """One kept sample of an application."""
        row = await self._ask(lambda connection: select_sample(connection, app_id, sample_id))
        return None if row is None else Sample(**row)

    async def flush(self) -> None:
        """Returns when everything recorded so far is in the file."""
        await self._ask(lambda connection: None)

    async def close(self) -> None:
        """Write what is on its way, then end. Nothing may be recorded afterwards."""
        self._ask_now(None)
        await asyncio.to_thread(self._thread.join)

    def _offer(self, fields: dict[str, Any], redact: Sequence[str]) -> None:
        if self._queue.qsize() >= self._queue_size * (1 if fields["ok"] else 2):
            self._drop("queue_full")
        else:
            self._queue.put(_Write(fields, tuple(redact)))

    def _drop(self, reason: str) -> None:
        self.dropped += 1
        self._dropped.labels(reason).inc()

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Run `question` in the store's thread, after everything that was queued before.

        A full disk or an unwritable file gives Unavailable with the reason.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def deliver(value: T | None, error: BaseException | None) -> None:
            if answer.done():  # the asker was cancelled
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(value)  # type: ignore[arg-type]  # a T whenever there is no error

        def work(connection: sqlite3.Connection) -> None:
            value: T | None = None
            failure: Exception | None = None
            try:
                value = question(connection)
            except sqlite3.OperationalError as error:
                failure = Unavailable(f"the samples in {self._path} fail: {error}")
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the asker's loop has ended
                loop.call_soon_threadsafe(deliver, value, failure)

        if not self._thread.is_alive():
            raise RuntimeError("the sample store is closed")
        self._ask_now(work)
        return await answer

    def _ask_now(self, question: Callable[[sqlite3.Connection], None] | None) -> None:
        """Queue a question, or None for the end, and let the writer get to it without pausing."""
        self._asked += 1
        self._queue.put(question)
        self._hurry.set()

    def _work(self) -> None:
        """The thread: samples in batches of one transaction, questions in between, in the order they came.

        It pauses while nobody asks. Samples that come meanwhile wake no thread, which would cost the server more than
        writing them.
        """
        while True:
            entries = [self._queue.get()]
            if self._asked == self._answered:
                self._hurry.wait(_PAUSE_S)
                self._hurry.clear()
            while len(entries) < _BATCH and not self._queue.empty():
                entries.append(self._queue.get_nowait())
            for are_writes, group in groupby(entries, key=lambda entry: isinstance(entry, _Write)):
                if are_writes:
                    self._write(self._connection, [entry for entry in group if isinstance(entry, _Write)])
                    continue
                for entry in group:
                    if not callable(entry):
                        self._connection.close()
                        return
                    entry(self._connection)
                    self._answered += 1

    def _write(self, connection: sqlite3.Connection, batch: list[_Write]) -> None:
        try:
            connection.execute("BEGIN")
            for write in batch:
                self._insert(connection, write)
            connection.execute("COMMIT")
        except Exception as error:  # a full disk must not end the thread: the samples are lost, and counted
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            for _ in batch:
                self._drop("not_written")
            log.warning("samples_not_written", count=len(batch), why=str(error))

    def _insert(self, connection: sqlite3.Connection, write: _Write) -> None:
        fields = write.fields
        hashed = fields.get("input_hash") or input_hash(fields["input"])
        redaction = Redaction(write.redact)
        insert_sample(
            connection,
            {
                "id": new_id(fields["ts"]),
                **fields,
                "input": redaction.apply(fields["input"]),
                "output": redaction.apply(fields["output"]),
                "input_hash": hashed,
                "split": split_of(hashed),
            },
        )
        self._retention.after_insert(connection, fields["app_id"], fields["component_id"])
