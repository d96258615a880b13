"""The ledger: every decision, hash-chained.

    h_0 = SHA256("uhlp-ledger-v1" || instance id)
    h_n = SHA256(0x00 || h_{n-1} || canonical JSON of entry n)

Changing any byte of any entry breaks the chain from there on, and cutting entries off the end is found where a head
was anchored elsewhere (git). Tamper-evident, not tamper-proof: who can write the file can forge a whole new chain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from hashlib import sha256
from typing import Any, Self

from uhlp import strict_json
from uhlp.errors import UhlpError


class Event(StrEnum):
    """What kind of decision an entry records."""

    CREATED = "created"
    MOVED = "moved"
    NOTED = "noted"
    PAUSED = "paused"
    RESUMED = "resumed"
    FORGIVEN = "forgiven"
    RETURNED = "returned"
    SETTING = "setting"
    ACCESS = "access"
    ANCHORED = "anchored"


OF_THIS_SERVER = frozenset({Event.SETTING, Event.ACCESS})
"""Events that decide nothing about candidates: a server may write them whether or not it leads."""

_WIRE_NAMES = {
    "app_id": "app",
    "component_id": "component",
    "candidate_id": "candidate",
    "from_state": "from",
    "to_state": "to",
    "code_sha": "codeSha",
    "spec_hash": "specHash",
    "config_hash": "configHash",
    "baseline_revision": "baselineRevision",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One decision. `ts` is epoch seconds; `evidence` holds figures (n, k, logE, epsilon, deltaA, alpha, coverage …).

    `patch` holds the decided fields that changed. Inputs and outputs appear in `payloads` by digest alone. `role` is
    the one in which a person acted; the store fills it in.
    """

    ts: float
    actor: str
    event: Event
    reason: str
    app_id: str | None = None
    component_id: str | None = None
    candidate_id: str | None = None
    from_state: str | None = None
    to_state: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    code_sha: str | None = None
    spec_hash: str | None = None
    config_hash: str | None = None
    baseline_revision: str | None = None
    payloads: tuple[str, ...] = ()
    patch: Mapping[str, Any] = field(default_factory=dict)
    role: str | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip() or not self.actor:
            raise ValueError("every decision names its actor and its reason")

    def to_dict(self) -> dict[str, Any]:
        """JSON values under the wire names (from, to, codeSha …)."""
        return {_WIRE_NAMES.get(one.name, one.name): getattr(self, one.name) for one in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The entry that `to_dict` described; a `seq` beside it is ignored, fields it lacks take their defaults."""
        names = {_WIRE_NAMES.get(one.name, one.name): one.name for one in fields(cls)}
        known = {names[name]: value for name, value in values.items() if name in names}
        known |= {"ts": float(known["ts"]), "event": Event(known["event"]), "payloads": tuple(known["payloads"])}
        return cls(**known)


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry in its place: `seq` counts from 1, `hash` is h_seq in hexadecimal."""

    seq: int
    hash: str
    entry: LedgerEntry


@dataclass(frozen=True, slots=True)
class BadEntry:
    """The first place where the ledger does not hold."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found: `entries` were good up to `first_bad`; `head` is the last good hash."""

    ok: bool
    entries: int
    head: str
    first_bad: BadEntry | None = None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """A ledger row as the database holds it: canonical JSON, its hash, and the columns copied out for searching."""

    seq: int
    body: bytes
    hash: bytes
    columns: tuple[bytes | None, ...]


SEARCH_COLUMNS = ("app", "component", "candidate", "specHash")


def genesis(instance_id: str) -> bytes:
    """h_0 of the ledger of this server instance."""
    return sha256(b"uhlp-ledger-v1" + instance_id.encode()).digest()


def body_of(seq: int, entry: LedgerEntry) -> bytes:
    """The bytes that are hashed and stored for entry number `seq`."""
    return strict_json.canonical({"seq": seq, **entry.to_dict()})


def next_hash(previous: bytes, body: bytes) -> bytes:
    return sha256(b"\x00" + previous + body).digest()


def verify_rows(instance_id: str, rows: Iterable[StoredRow], *, anchor: tuple[int, str] | None = None) -> VerifyReport:
    """Recompute the chain. `anchor` is a (seq, hash) kept elsewhere that the chain must contain."""
    previous, seq = genesis(instance_id), 0
    for row in rows:
        why = _fault(row, seq + 1, previous)
        if why is None and anchor is not None and anchor[0] == row.seq and anchor[1] != row.hash.hex():
            why = "another hash than the anchored one"
        if why is not None:
            return VerifyReport(False, seq, previous.hex(), BadEntry(seq + 1, why))
        previous, seq = row.hash, row.seq
    if anchor is not None and anchor[0] > seq:
        why = f"missing: an anchor names entry {anchor[0]}, the ledger ends at {seq}"
        return VerifyReport(False, seq, previous.hex(), BadEntry(seq + 1, why))
    return VerifyReport(True, seq, previous.hex())


def _fault(row: StoredRow, expected_seq: int, previous: bytes) -> str | None:
    if row.seq != expected_seq:
        return f"missing or renumbered: found entry {row.seq} in its place"
    if next_hash(previous, row.body) != row.hash:
        return "its content or hash was changed"
    try:
        values = strict_json.loads(row.body)
        columns = tuple(None if values[name] is None else values[name].encode() for name in SEARCH_COLUMNS)
    except (UhlpError, KeyError, TypeError, AttributeError) as error:
        return f"unreadable: {error}"
    if values["seq"] != row.seq:
        return "its number was changed"
    return None if columns == row.columns else "a search column differs from the entry"
