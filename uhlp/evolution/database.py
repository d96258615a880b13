"""The SQLite side of the evolution store: tables and transactions, used from one thread."""

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from uhlp import strict_json
from uhlp.errors import LedgerDamaged, MalformedJson, NotLeading, StateConflict
from uhlp.evolution.candidate import OPEN, Candidate, CandidateState
from uhlp.evolution.decisions import apply
from uhlp.evolution.fold import candidate_of, decided_columns, fold_problems, read_entry
from uhlp.evolution.ledger import (
    OF_THIS_SERVER,
    BadEntry,
    Event,
    LedgerEntry,
    SealedEntry,
    StoredRow,
    VerifyReport,
    body_of,
    genesis,
    next_hash,
    verify_rows,
)
from uhlp.evolution.records import Change, FoldProblem, RegressionCase, Scope
from uhlp.sqlite_file import open_sqlite

_OPEN_STATES = ", ".join(f"'{state}'" for state in sorted(OPEN))
_TABLES = f"""
CREATE TABLE IF NOT EXISTS instance (id TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY, body BLOB NOT NULL, hash BLOB NOT NULL,
    app_id TEXT, component_id TEXT, candidate_id TEXT, spec_hash TEXT);
CREATE INDEX IF NOT EXISTS ledger_component ON ledger (app_id, component_id, spec_hash);
CREATE INDEX IF NOT EXISTS ledger_candidate ON ledger (candidate_id);
CREATE TABLE IF NOT EXISTS candidates (
    id TEXT PRIMARY KEY, decided BLOB NOT NULL,
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, progress BLOB NOT NULL);
CREATE UNIQUE INDEX IF NOT EXISTS one_open ON candidates (app_id, component_id) WHERE state IN ({_OPEN_STATES});
CREATE UNIQUE INDEX IF NOT EXISTS one_promoted ON candidates (app_id, component_id, kind) WHERE state = 'promoted';
CREATE TABLE IF NOT EXISTS payloads (app_id TEXT NOT NULL, digest TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (app_id, digest));
CREATE TABLE IF NOT EXISTS regressions (
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, spec_hash TEXT NOT NULL, payload TEXT NOT NULL,
    split TEXT NOT NULL, candidate_id TEXT NOT NULL, reason TEXT NOT NULL, added_at REAL NOT NULL,
    PRIMARY KEY (app_id, component_id, spec_hash, payload));
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS pauses (app_id TEXT, component_id TEXT);
CREATE TABLE IF NOT EXISTS leadership (token INTEGER NOT NULL);
"""

_NOT_SHOWN = (
    "evidence.trail", "measurements.inputs", "measurements.latenciesMs", "measurements.canary", "monitor",
    "mismatches",
)  # fmt: skip
_SHOWN = "json_remove(CAST(progress AS TEXT), " + ", ".join(f"'$.{path}'" for path in _NOT_SHOWN) + ")"
"""Progress without what only the candidate itself needs."""

Fence = Callable[[], int | None]
"""The token that decisions are written under now, None where nobody shares leading; raises NotLeading."""

Step = Callable[[str], None]
"""Told what has just been done; a test may end the process there."""


def unfenced() -> None:
    """The fence of a server that shares nothing."""


def as_it_is(candidate: Candidate) -> Candidate:
    """What is made of a candidate that is read, when nothing else is."""
    return candidate


def unwatched(step: str) -> None:
    """Steps that nobody follows."""


class EvolutionDatabase:
    """Blocking; every method is one transaction at most. `fence` is asked in the transaction of each decision."""

    def __init__(self, path: Path, *, fence: Fence = unfenced, step: Step = unwatched) -> None:
        self._path = path
        self._fence = fence
        self._step = step
        self._connection: sqlite3.Connection | None = None
        self.instance_id = ""

    def open(self) -> None:
        self._connection = open_sqlite(self._path, synchronous="FULL")
        self._connection.executescript(_TABLES)
        with self._transaction() as db:
            row = db.execute("SELECT id FROM instance").fetchone()
            if row is None:
                row = (secrets.token_hex(16),)
                db.execute("INSERT INTO instance VALUES (?)", row)
        self.instance_id = row[0]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def append(self, changes: Sequence[Change]) -> list[SealedEntry]:
        sealed = []
        with self._transaction() as db:
            self._step("begun")
            seq, digest = self._head(db)
            for change in changes:
                seq += 1
                digest = self._append_one(db, seq, digest, change)
                sealed.append(SealedEntry(seq, digest.hex(), change.entry))
            if not all(change.entry.event in OF_THIS_SERVER for change in changes):
                self._pass_fence(db)
            self._step("fence passed")
        self._step("committed")
        return sealed

    def save_progress(self, candidates: Sequence[Candidate], payloads: Mapping[str, Any]) -> None:
        with self._transaction() as db:
            for candidate in candidates:
                progress = strict_json.canonical(candidate.progress())
                db.execute("UPDATE candidates SET progress = ? WHERE id = ?", (progress, candidate.id))
                self._put_payloads(db, candidate.app_id, payloads)

    def candidates(
        self, where: str, values: Sequence[str], each: Callable[[Candidate], Candidate] = as_it_is
    ) -> list[Candidate]:
        query = f"SELECT decided, progress FROM candidates WHERE {where} ORDER BY rowid"  # noqa: S608  fixed column names
        return [each(candidate_of(decided, progress)) for decided, progress in self._db.execute(query, values)]

    def shown(self, ids: Sequence[str]) -> list[Candidate]:
        wanted = ", ".join("?" * len(ids))
        query = f"SELECT decided, {_SHOWN} FROM candidates WHERE id IN ({wanted})"  # noqa: S608  own names
        return [candidate_of(decided, progress.encode()) for decided, progress in self._db.execute(query, ids)]

    def entries(self, where: str, values: Sequence[str], limit: int = -1) -> list[SealedEntry]:
        query = f"SELECT seq, body, hash FROM ledger WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608  fixed column names
        rows = self._db.execute(query, (*values, limit))
        return [SealedEntry(seq, digest.hex(), read_entry(seq, body)) for seq, body, digest in rows]

    def readable_entries(self) -> list[LedgerEntry]:
        found = []
        for seq, body in self._db.execute("SELECT seq, CAST(body AS BLOB) FROM ledger ORDER BY seq"):
            with suppress(LedgerDamaged):
                found.append(read_entry(seq, body))
        return found

    def head(self) -> tuple[int, str]:
        seq, digest = self._head(self._db)
        return seq, digest.hex()

    def raw_entries(self, after: int, limit: int) -> list[tuple[int, bytes, str]]:
        query = "SELECT seq, body, hash FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?"
        return [(seq, body, digest.hex()) for seq, body, digest in self._db.execute(query, (after, limit))]

    def newest_token(self) -> int:
        row = self._db.execute("SELECT max(token) FROM leadership").fetchone()
        return row[0] or 0

    def verify(self, anchor: tuple[int, str] | None) -> VerifyReport:
        unreadable: list[str] = []

        def rows() -> Iterator[StoredRow]:
            try:
                yield from self._rows()
            except sqlite3.DatabaseError as error:
                unreadable.append(f"unreadable: {error}")

        report = verify_rows(self.instance_id, rows(), anchor=anchor)
        if not unreadable:
            return report
        return VerifyReport(False, report.entries, report.head, BadEntry(report.entries + 1, unreadable[0]))

    def check_fold(self) -> list[FoldProblem]:
        entries = self._db.execute("SELECT seq, CAST(body AS BLOB) FROM ledger ORDER BY seq")
        query = "SELECT id, CAST(decided AS BLOB), app_id, component_id, kind, state FROM candidates"
        rows = {one: (decided, *columns) for one, decided, *columns in self._db.execute(query)}
        return fold_problems(entries, rows, self.settings(), self.pauses())

    def settings(self) -> dict[str, Any]:
        """Those that can be read: what somebody spoilt differs from the ledger, and `check_fold` says so."""
        found = {}
        for name, value in self._db.execute("SELECT name, CAST(value AS BLOB) FROM settings"):
            with suppress(MalformedJson):
                found[name] = strict_json.loads(value)
        return found

    def pauses(self) -> set[Scope]:
        return {(app_id, component_id) for app_id, component_id in self._db.execute("SELECT * FROM pauses")}

    def payload(self, app_id: str, digest: str) -> Any | None:
        query = "SELECT body FROM payloads WHERE app_id = ? AND digest = ?"
        row = self._db.execute(query, (app_id, digest)).fetchone()
        return None if row is None else _payload(row[0])

    def regressions(self, app_id: str, component_id: str, spec_hash: str | None) -> list[RegressionCase]:
        rows = self._db.execute(
            "SELECT r.*, p.body FROM regressions r LEFT JOIN payloads p ON p.app_id = r.app_id AND p.digest = r.payload"
            " WHERE r.app_id = ? AND r.component_id = ? AND r.spec_hash = coalesce(?, r.spec_hash) ORDER BY r.rowid",
            (app_id, component_id, spec_hash),
        )
        return [RegressionCase(*(*row, _payload(body))) for *row, body in rows]

    def delete_payloads(self, app_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM payloads WHERE app_id = ?", (app_id,))
            db.execute("DELETE FROM regressions WHERE app_id = ?", (app_id,))

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise RuntimeError("the evolution store is not open")
        return self._connection

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

    def _pass_fence(self, db: sqlite3.Connection) -> None:
        """The last thing before the commit: whoever has lost the lease by now writes nothing."""
        token = self._fence()
        if token is None:
            return
        newest = self.newest_token()
        if token < newest:
            raise NotLeading(f"A later leader has decided here: token {newest} came after this server's {token}.")
        if token > newest:
            db.execute("DELETE FROM leadership")
            db.execute("INSERT INTO leadership VALUES (?)", (token,))

    def _head(self, db: sqlite3.Connection) -> tuple[int, bytes]:
        row = db.execute("SELECT seq, hash FROM ledger ORDER BY seq DESC LIMIT 1").fetchone()
        return (0, genesis(self.instance_id)) if row is None else (row[0], row[1])

    def _append_one(self, db: sqlite3.Connection, seq: int, previous: bytes, change: Change) -> bytes:
        entry, body = change.entry, body_of(seq, change.entry)
        digest = next_hash(previous, body)
        db.execute(
            "INSERT INTO ledger VALUES (?, ?, ?, ?, ?, ?, ?)",
            (seq, body, digest, entry.app_id, entry.component_id, entry.candidate_id, entry.spec_hash),
        )
        self._step("entry written")
        if (change.candidate is None) != (entry.candidate_id is None):
            raise ValueError("an entry about a candidate comes with that candidate")
        if change.candidate is not None:
            self._put_candidate(db, entry, change.candidate)
            self._step("candidate written")
        self._put_server_state(db, entry)
        self._step("server state written")
        if entry.app_id is not None:
            self._put_payloads(db, entry.app_id, change.payloads)
            self._step("payloads written")
        for one in change.regressions:
            db.execute(
                "INSERT OR IGNORE INTO regressions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    one.app_id,
                    one.component_id,
                    one.spec_hash,
                    one.payload,
                    one.split,
                    one.candidate_id,
                    one.reason,
                    one.added_at,
                ),
            )
            if one.case is not None:
                self._put_payloads(db, one.app_id, {one.payload: one.case})
            self._step("regression written")
        return digest

    def _put_candidate(self, db: sqlite3.Connection, entry: LedgerEntry, candidate: Candidate) -> None:
        row = db.execute("SELECT decided FROM candidates WHERE id = ?", (candidate.id,)).fetchone()
        after = apply(None if row is None else candidate_of(row[0]), entry)
        if _canonical(after) != _canonical(candidate):
            raise StateConflict(f"Candidate {candidate.id} has moved on; read it again and decide anew.")
        try:
            db.execute(
                "INSERT INTO candidates VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET state = excluded.state, decided = excluded.decided,"
                " progress = excluded.progress",
                (candidate.id, *decided_columns(candidate), strict_json.canonical(candidate.progress())),
            )
        except sqlite3.IntegrityError:
            which = "promoted" if candidate.state is CandidateState.PROMOTED else "open"
            place = f"{candidate.app_id}/{candidate.component_id}"
            raise StateConflict(f"{place} has another {which} candidate already.") from None

    def _put_server_state(self, db: sqlite3.Connection, entry: LedgerEntry) -> None:
        if entry.event is Event.SETTING:
            db.execute("DELETE FROM settings WHERE name = ?", (entry.patch["name"],))
            if entry.patch["value"] is not None:
                value = strict_json.canonical(entry.patch["value"])
                db.execute("INSERT INTO settings VALUES (?, ?)", (entry.patch["name"], value))
        if entry.candidate_id is None and entry.event in (Event.PAUSED, Event.RESUMED):
            scope = (entry.app_id, entry.component_id)
            db.execute("DELETE FROM pauses WHERE app_id IS ? AND component_id IS ?", scope)
            if entry.event is Event.PAUSED:
                db.execute("INSERT INTO pauses VALUES (?, ?)", scope)

    def _put_payloads(self, db: sqlite3.Connection, app_id: str, payloads: Mapping[str, Any]) -> None:
        rows = [(app_id, digest, strict_json.dumps(value)) for digest, value in payloads.items()]
        db.executemany("INSERT OR IGNORE INTO payloads VALUES (?, ?, ?)", rows)

    def _rows(self) -> Iterator[StoredRow]:
        columns = ("body", "hash", "app_id", "component_id", "candidate_id", "spec_hash")
        as_bytes = ", ".join(f"CAST({name} AS BLOB)" for name in columns)
        query = f"SELECT seq, {as_bytes} FROM ledger ORDER BY seq"  # noqa: S608  fixed column names
        for seq, body, digest, *found in self._db.execute(query):
            yield StoredRow(seq, body or b"", digest or b"", tuple(found))


def _canonical(candidate: Candidate) -> bytes:
    return strict_json.canonical(candidate.decided())


def _payload(body: bytes | None) -> Any | None:
    return None if body is None else strict_json.loads(body, max_depth=strict_json.DEEPEST)
