"""The table of samples: its schema, and the statements over it."""

import hashlib
import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from uhlp import strict_json
from uhlp.traffic.tallies import TALLIES

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS samples (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    draw INTEGER NOT NULL,
    app_id TEXT NOT NULL, component_id TEXT NOT NULL, ts REAL NOT NULL,
    input BLOB NOT NULL, output BLOB NOT NULL,
    implementation TEXT NOT NULL, handler TEXT NOT NULL,
    latency_ms REAL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, cost_usd REAL,
    ok INTEGER NOT NULL, trace_id TEXT NOT NULL, source TEXT NOT NULL,
    spec_hash TEXT NOT NULL, input_hash TEXT NOT NULL, split TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS samples_by_component ON samples (app_id, component_id, seq);
CREATE INDEX IF NOT EXISTS samples_by_draw ON samples (app_id, component_id, draw);
{TALLIES}
"""

_FIELDS = (
    "id", "app_id", "component_id", "ts", "input", "output", "implementation", "handler", "latency_ms", "tokens_in",
    "tokens_out", "cost_usd", "ok", "trace_id", "source", "spec_hash", "input_hash", "split",
)  # fmt: skip
_INSERT = f"INSERT INTO samples (draw, {', '.join(_FIELDS)}) VALUES (?{', ?' * len(_FIELDS)})"  # noqa: S608 (own names)
_SELECT = f"SELECT {', '.join(_FIELDS)} FROM samples WHERE app_id = ? AND component_id = ?"  # noqa: S608 (own names)


@dataclass(frozen=True, slots=True)
class SampleCounts:
    """How many samples are kept: in all, by half (those that are ok), failed, imported, and of each handler."""

    total: int
    train: int
    held_out: int
    failed: int
    imported: int
    distinct_inputs: int
    by_handler: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def new_id(ts: float) -> str:
    """An identity that sorts by time: rows then go to the end of its index, at half the cost of random places."""
    return f"{int(ts * 1e6):016x}{secrets.token_hex(8)}"


def insert_sample(connection: sqlite3.Connection, fields: Mapping[str, Any]) -> None:
    """One row; `draw` is a uniform random number of the sample's own, taken from its id (see `retention`)."""
    draw = int.from_bytes(hashlib.sha256(fields["id"].encode()).digest()[:7], "big")
    stored = {**fields, "input": strict_json.dumps(fields["input"]), "output": strict_json.dumps(fields["output"])}
    connection.execute(_INSERT, (draw, *(stored[name] for name in _FIELDS)))


def select_samples(
    connection: sqlite3.Connection, app_id: str, component_id: str, filters: Mapping[str, Any], limit: int
) -> list[dict[str, Any]]:
    """Rows as keyword arguments of Sample, newest first."""
    wanted = {name: value for name, value in filters.items() if value is not None}
    where = "".join(f" AND {name} = ?" for name in wanted)
    rows = connection.execute(
        f"{_SELECT}{where} ORDER BY seq DESC LIMIT ?", (app_id, component_id, *wanted.values(), limit)
    )
    return [_loaded(dict(zip(_FIELDS, row, strict=True))) for row in rows]


def select_sample(connection: sqlite3.Connection, app_id: str, sample_id: str) -> dict[str, Any] | None:
    """One row as keyword arguments of Sample."""
    query = f"SELECT {', '.join(_FIELDS)} FROM samples WHERE app_id = ? AND id = ?"  # noqa: S608 (own names)
    row = connection.execute(query, (app_id, sample_id)).fetchone()
    return None if row is None else _loaded(dict(zip(_FIELDS, row, strict=True)))


def count_samples(connection: sqlite3.Connection, app_id: str, component_id: str) -> SampleCounts:
    """The counts of one component, from the tallies: they cost the same however many samples there are."""
    place = (app_id, component_id)
    total, train, held_out, failed, imported = connection.execute(
        "SELECT total(n), total(n * (ok AND split = 'train')), total(n * (ok AND split = 'held_out')),"
        " total(n * NOT ok), total(n * (source = 'import'))"
        " FROM sample_tallies WHERE app_id = ? AND component_id = ?",
        place,
    ).fetchone()
    by_handler = connection.execute(
        "SELECT handler, sum(n) FROM sample_tallies WHERE app_id = ? AND component_id = ?"
        " GROUP BY handler ORDER BY handler",
        place,
    ).fetchall()
    distinct = connection.execute("SELECT n FROM input_tallies WHERE app_id = ? AND component_id = ?", place).fetchone()
    return SampleCounts(
        int(total), int(train), int(held_out), int(failed), int(imported), distinct[0] if distinct else 0,
        dict(by_handler),
    )  # fmt: skip


def _loaded(row: dict[str, Any]) -> dict[str, Any]:
    row["input"], row["output"] = (
        strict_json.loads(row["input"], max_depth=strict_json.DEEPEST),
        strict_json.loads(row["output"], max_depth=strict_json.DEEPEST),
    )
    row["ok"] = bool(row["ok"])
    return row
