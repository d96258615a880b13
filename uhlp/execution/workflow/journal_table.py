"""The tables of the journal, and the statements over them."""

import sqlite3
from dataclasses import fields
from typing import Any

from uhlp import strict_json
from uhlp.execution.workflow.records import (
    ENDED_STATES,
    OPEN_STATES,
    Entry,
    RunBegun,
    RunEnded,
    RunMoved,
    RunRecord,
    StepBegun,
    StepEnded,
    StepRecord,
)
from uhlp.traffic.redaction import Redaction

SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE, app_id TEXT NOT NULL, component_id TEXT NOT NULL, workflow_id TEXT NOT NULL,
    revision TEXT NOT NULL, source TEXT NOT NULL, source_details BLOB, user_info BLOB, session_id TEXT,
    trace_id TEXT NOT NULL, trace BLOB, input BLOB, is_attended INTEGER NOT NULL, dedupe_key TEXT, redact BLOB NOT NULL,
    started REAL NOT NULL, deadline REAL NOT NULL, state TEXT NOT NULL, ended REAL, result BLOB,
    result_format TEXT NOT NULL, error BLOB
) STRICT;
CREATE INDEX IF NOT EXISTS runs_of_application ON runs (app_id, seq);
CREATE INDEX IF NOT EXISTS runs_open ON runs (seq) WHERE state IN ('running', 'waiting');
CREATE UNIQUE INDEX IF NOT EXISTS runs_begun_by ON runs (app_id, dedupe_key) WHERE dedupe_key IS NOT NULL;
CREATE TABLE IF NOT EXISTS steps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL, path TEXT NOT NULL, attempt INTEGER NOT NULL, step_id TEXT NOT NULL, kind TEXT NOT NULL,
    state TEXT NOT NULL, started REAL NOT NULL, ended REAL, input BLOB, output BLOB,
    result_format TEXT NOT NULL, error BLOB, implementation TEXT,
    tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost_usd REAL NOT NULL,
    wake_at REAL, signal TEXT, correlation TEXT, redact BLOB NOT NULL, UNIQUE (run_id, path, attempt)
) STRICT;
"""

_RUN_FIELDS = tuple(field.name for field in fields(RunRecord))
_STEP_FIELDS = tuple(field.name for field in fields(StepRecord))
_INPUT = _STEP_FIELDS.index("input")
_JSON = frozenset({"source_details", "user_info", "input", "output", "result", "error", "redact", "trace"})
_SELECT_RUNS = f"SELECT {', '.join(_RUN_FIELDS)} FROM runs"  # noqa: S608 (own names)
_SELECT_STEPS = f"SELECT {', '.join(_STEP_FIELDS)} FROM steps"  # noqa: S608 (own names)
_INSERT_RUN = f"INSERT OR IGNORE INTO runs ({', '.join(_RUN_FIELDS)}) VALUES (?{', ?' * (len(_RUN_FIELDS) - 1)})"  # noqa: S608
_INSERT_STEP = f"INSERT OR REPLACE INTO steps ({', '.join(_STEP_FIELDS)}, redact) VALUES (?{', ?' * len(_STEP_FIELDS)})"  # noqa: S608
_OPEN = f"state IN ({', '.join(repr(state) for state in OPEN_STATES)})"
_ENDED = f"state IN ({', '.join(repr(state) for state in ENDED_STATES)})"

_OLD = f"""
SELECT run_id FROM (SELECT run_id, ended, row_number() OVER (PARTITION BY app_id ORDER BY seq DESC) AS place
    FROM runs WHERE {_ENDED}) WHERE ended < ? OR place > ?
"""  # noqa: S608 (own names)


def write_entry(db: sqlite3.Connection, entry: Entry, kept_value_bytes: int) -> None:
    """Apply one entry, within the caller's transaction. Applying it twice changes nothing more."""
    if isinstance(entry, StepBegun):
        row = [*_row_of(entry.step, _STEP_FIELDS), strict_json.dumps(entry.redact)]
        row[_INPUT] = _within(kept_value_bytes, row[_INPUT])  # shown, and never needed to go on
        db.execute(_INSERT_STEP, row)
    elif isinstance(entry, StepEnded):
        db.execute(
            "UPDATE steps SET state = ?, ended = ?, output = ?, result_format = ?, error = ?, implementation = ?,"
            " tokens_in = ?, tokens_out = ?, cost_usd = ? WHERE run_id = ? AND path = ? AND attempt = ?",
            (entry.state, entry.ended, entry.output, entry.result_format, _json(entry.error), entry.implementation,
             entry.tokens_in, entry.tokens_out, entry.cost_usd, entry.run_id, entry.path, entry.attempt),
        )  # fmt: skip
    elif isinstance(entry, RunBegun):
        db.execute(_INSERT_RUN, _row_of(entry.run, _RUN_FIELDS))
    elif isinstance(entry, RunMoved):
        db.execute(f"UPDATE runs SET state = ? WHERE run_id = ? AND {_OPEN}", (entry.state, entry.run_id))  # noqa: S608
    else:
        _end_run(db, entry, kept_value_bytes)


def select_run(db: sqlite3.Connection, app_id: str, run_id: str) -> RunRecord | None:
    """One run of an application."""
    row = db.execute(f"{_SELECT_RUNS} WHERE app_id = ? AND run_id = ?", (app_id, run_id)).fetchone()
    return None if row is None else _run(row)


def select_begun_by(db: sqlite3.Connection, app_id: str, dedupe_key: str) -> RunRecord | None:
    """The run that `dedupe_key` has begun."""
    row = db.execute(f"{_SELECT_RUNS} WHERE app_id = ? AND dedupe_key = ?", (app_id, dedupe_key)).fetchone()
    return None if row is None else _run(row)


def select_open_runs(db: sqlite3.Connection) -> list[RunRecord]:
    """Every run that has not ended, oldest first."""
    return [_run(row) for row in db.execute(f"{_SELECT_RUNS} WHERE {_OPEN} ORDER BY seq")]


def select_runs(
    db: sqlite3.Connection, app_id: str, *, component_id: str | None, state: str | None, limit: int
) -> list[RunRecord]:
    """Runs of an application, newest first."""
    wanted = {"component_id": component_id, "state": state}
    given = {name: value for name, value in wanted.items() if value is not None}
    where = "".join(f" AND {name} = ?" for name in given)
    query = f"{_SELECT_RUNS} WHERE app_id = ?{where} ORDER BY seq DESC LIMIT ?"
    return [_run(row) for row in db.execute(query, (app_id, *given.values(), limit))]


def select_steps(db: sqlite3.Connection, run_id: str, *, limit: int = -1) -> list[StepRecord]:
    """The steps of a run in the order in which they began."""
    rows = db.execute(f"{_SELECT_STEPS} WHERE run_id = ? ORDER BY seq LIMIT ?", (run_id, limit))
    return [_step(row) for row in rows]


def held_bytes(db: sqlite3.Connection, run_id: str) -> int:
    """How large the outputs of an open run's steps are together."""
    (held,) = db.execute("SELECT coalesce(sum(length(output)), 0) FROM steps WHERE run_id = ?", (run_id,)).fetchone()
    return int(held)


def usage_of(db: sqlite3.Connection, run_id: str) -> tuple[int, int, float]:
    """Tokens in, tokens out and US dollars of all steps of a run."""
    query = (
        "SELECT coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0), coalesce(sum(cost_usd), 0.0) FROM steps"
        " WHERE run_id = ?"
    )
    tokens_in, tokens_out, usd = db.execute(query, (run_id,)).fetchone()
    return tokens_in, tokens_out, usd


def masked_steps(db: sqlite3.Connection, run: RunRecord, *, limit: int) -> list[StepRecord]:
    """The same, as it may be shown: masked, which is what an ended run keeps of them anyway."""
    if run.state in ENDED_STATES:
        return select_steps(db, run.run_id, limit=limit)
    query = f"{_SELECT_STEPS.replace(' FROM', ', redact FROM')} WHERE run_id = ? ORDER BY seq LIMIT ?"
    return [
        _step((*values[:-1],), Redaction((*run.redact, *_loads(values[-1]))))
        for values in db.execute(query, (run.run_id, limit))
    ]


def waiting_steps(db: sqlite3.Connection, run_id: str) -> list[StepRecord]:
    """What an open run waits for."""
    return [_step(row) for row in db.execute(f"{_SELECT_STEPS} WHERE run_id = ? AND state = 'waiting'", (run_id,))]


def delete_run(db: sqlite3.Connection, run_id: str) -> None:
    db.execute("DELETE FROM steps WHERE run_id = ?", (run_id,))
    db.execute("DELETE FROM runs WHERE run_id = ?", (run_id,))


def delete_application(db: sqlite3.Connection, app_id: str) -> int:
    """The number of runs that were forgotten."""
    db.execute("DELETE FROM steps WHERE run_id IN (SELECT run_id FROM runs WHERE app_id = ?)", (app_id,))
    return db.execute("DELETE FROM runs WHERE app_id = ?", (app_id,)).rowcount


def delete_old(db: sqlite3.Connection, *, before: float, keep_runs: int) -> int:
    """Forget ended runs that are too old or too many; the number of them."""
    rows = db.execute(_OLD, (before, keep_runs))
    doomed = [run_id for (run_id,) in rows]
    for run_id in doomed:
        delete_run(db, run_id)
    return len(doomed)


def _end_run(db: sqlite3.Connection, entry: RunEnded, kept_value_bytes: int) -> None:
    """What a run holds is whole while it may have to go on, and from now on only what may be kept. What began a run
    that failed may begin another. A caller who did not wait comes for the result, however large it is."""
    row = db.execute(
        "SELECT redact, source = 'http' AND NOT is_attended, input, user_info, source_details FROM runs"
        " WHERE run_id = ?",
        (entry.run_id,),
    ).fetchone()
    if row is None:
        return
    of_run, is_fetched = tuple(_loads(row[0])), bool(row[1])
    redaction = Redaction(of_run)

    def keep(text: bytes | None) -> bytes | None:
        return _masked(_within(kept_value_bytes, text), redaction)

    result = None if entry.result is None else strict_json.dumps(entry.result)
    db.execute(
        "UPDATE runs SET state = ?, ended = ?, result = ?, result_format = ?, error = ?, input = ?, user_info = ?,"
        " source_details = ?, dedupe_key = iif(? = 'succeeded', dedupe_key, NULL) WHERE run_id = ?",
        (
            entry.state,
            entry.ended,
            _masked(result, redaction) if is_fetched else keep(result),
            entry.result_format,
            _json(entry.error),
            *map(keep, row[2:]),
            entry.state,
            entry.run_id,
        ),
    )
    steps = db.execute(
        "SELECT seq, redact, input, output, state FROM steps WHERE run_id = ?", (entry.run_id,)
    ).fetchall()
    for seq, redact, given, output, state in steps:
        of_step = tuple(_loads(redact))
        of_both = Redaction((*of_run, *of_step)) if of_step else redaction
        left = "cancelled" if state in OPEN_STATES else state
        db.execute(
            "UPDATE steps SET input = ?, output = ?, state = ?, ended = coalesce(ended, ?) WHERE seq = ?",
            (_masked(given, of_both), _masked(_within(kept_value_bytes, output), of_both), left, entry.ended, seq),
        )


def _masked(text: bytes | None, redaction: Redaction) -> bytes | None:
    return None if text is None else strict_json.dumps(redaction.apply(_loads(text)))


def _within(most_bytes: int, text: bytes | None) -> bytes | None:
    """The value, or how large it was."""
    if text is None or len(text) <= most_bytes:
        return text
    return strict_json.dumps({"omittedBytes": len(text)})


def _row_of(record: RunRecord | StepRecord, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple([_json(getattr(record, name)) if name in _JSON else getattr(record, name) for name in names])


def _run(row: tuple[Any, ...]) -> RunRecord:
    values = _values(row, _RUN_FIELDS)
    return RunRecord(**{**values, "is_attended": bool(values["is_attended"]), "redact": tuple(values["redact"])})


def _step(row: tuple[Any, ...], redaction: Redaction | None = None) -> StepRecord:
    values = _values(row, _STEP_FIELDS)
    if redaction is not None:
        values["input"], values["output"] = redaction.apply(values["input"]), redaction.apply(values["output"])
    return StepRecord(**values)


def _values(row: tuple[Any, ...], names: tuple[str, ...]) -> dict[str, Any]:
    return {
        name: _loads(value) if name in _JSON and value is not None else value
        for name, value in zip(names, row, strict=True)
    }


def _json(value: Any) -> bytes | None:
    return None if value is None else strict_json.dumps(value)


def _loads(text: bytes) -> Any:
    return strict_json.loads(text, max_depth=strict_json.DEEPEST)
