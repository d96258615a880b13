"""State is the fold of the ledger: what rows, settings and pauses should be, held against what they are."""

from collections.abc import Iterable, Mapping
from typing import Any

from uhlp import strict_json
from uhlp.errors import LedgerDamaged, UhlpError
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.decisions import apply
from uhlp.evolution.ledger import Event, LedgerEntry
from uhlp.evolution.records import FoldProblem, Scope

Row = tuple[bytes, str, str, str, str]
"""A candidate's row: the decided fields as JSON, application, component, kind, state."""

_MISFITS = (UhlpError, AttributeError, KeyError, TypeError, ValueError)
"""What reading or playing an entry raises that is not as it was written."""


def fold_problems(
    entries: Iterable[tuple[int, bytes]], rows: Mapping[str, Row], settings: Mapping[str, Any], pauses: set[Scope]
) -> list[FoldProblem]:
    """Where `rows` by candidate id, `settings` and `pauses` are not what the ledger makes of them.

    `entries` are all of it, in order, as number and stored bytes. One that somebody changed is a problem like any
    other: a server whose ledger is damaged says so and lets models answer, instead of not starting.
    """
    folded: dict[str, Candidate] = {}
    folded_settings: dict[str, Any] = {}
    folded_pauses: set[Scope] = set()
    problems: list[FoldProblem] = []
    told: set[str | None] = set()
    for seq, body in entries:
        candidate_id = None
        try:
            entry = read_entry(seq, body)
            candidate_id = entry.candidate_id
            _fold_server_state(entry, folded_settings, folded_pauses)
            if candidate_id is not None:
                folded[candidate_id] = apply(folded.get(candidate_id), entry)
        except _MISFITS as error:
            if candidate_id not in told:  # what comes after it of this candidate cannot fold either
                problems.append(FoldProblem(f"ledger entry {seq}", f"it does not fold: {error}"))
            told |= {candidate_id} - {None}
    for one in sorted(folded.keys() | rows.keys()):
        if one not in rows or one not in folded:
            problems.append(FoldProblem(one, f"missing in the {'candidate rows' if one in folded else 'ledger'}"))
        elif (_read_anew(rows[one][0]), *rows[one][1:]) != decided_columns(folded[one]):
            problems.append(FoldProblem(one, f"row and ledger differ; the ledger says {folded[one].state}"))
    if strict_json.canonical(settings) != strict_json.canonical(folded_settings):
        problems.append(FoldProblem("settings", "differ from the ledger"))
    if pauses != folded_pauses:
        problems.append(FoldProblem("pauses", "differ from the ledger"))
    return problems


def decided_columns(candidate: Candidate) -> Row:
    """The decided fields, and those copied out for searching."""
    decided = strict_json.canonical(candidate.decided())
    return decided, candidate.app_id, candidate.component_id, candidate.kind, str(candidate.state)


def candidate_of(decided: bytes, progress: bytes = b"{}") -> Candidate:
    """The candidate that a row keeps."""
    return Candidate.from_dict({**strict_json.loads(decided), **strict_json.loads(progress)})


def read_entry(seq: int, body: bytes) -> LedgerEntry:
    """The entry that the ledger keeps as these bytes. Raises LedgerDamaged when they are none."""
    try:
        return LedgerEntry.from_dict(strict_json.loads(body))
    except _MISFITS as error:
        raise LedgerDamaged(
            f"Entry {seq} of the ledger cannot be read; `uhlp ledger verify` says what was changed.",
            details={"seq": seq},
        ) from error


def _fold_server_state(entry: LedgerEntry, settings: dict[str, Any], pauses: set[Scope]) -> None:
    if entry.event is Event.SETTING:
        settings.pop(entry.patch["name"], None)
        if entry.patch["value"] is not None:
            settings[entry.patch["name"]] = entry.patch["value"]
    if entry.candidate_id is None and entry.event is Event.PAUSED:
        pauses.add((entry.app_id, entry.component_id))
    if entry.candidate_id is None and entry.event is Event.RESUMED:
        pauses.discard((entry.app_id, entry.component_id))


def _read_anew(decided: bytes) -> bytes:
    """The decided fields in today's form (an earlier release may have known fewer); unreadable ones as they are."""
    try:
        return strict_json.canonical(candidate_of(decided).decided())
    except _MISFITS:
        return decided
