"""State is the fold of the ledger: what rows, settings and pauses should be, held against what they are."""

from collections.abc import Iterable, Mapping
from typing import Any

from uhlp import strict_json
from uhlp.errors import UhlpError
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.decisions import apply
from uhlp.evolution.ledger import Event, LedgerEntry
from uhlp.evolution.records import FoldProblem, Scope

Row = tuple[bytes, str, str, str, str]
"""A candidate's row: the decided fields as JSON, application, component, kind, state."""


def fold_problems(
    entries: Iterable[LedgerEntry], rows: Mapping[str, Row], settings: Mapping[str, Any], pauses: set[Scope]
) -> list[FoldProblem]:
    """Where `rows` by candidate id, `settings` and `pauses` are not what all `entries`, in order, make of them."""
    folded: dict[str, Candidate] = {}
    folded_settings: dict[str, Any] = {}
    folded_pauses: set[Scope] = set()
    problems: list[FoldProblem] = []
    for entry in entries:
        _fold_server_state(entry, folded_settings, folded_pauses)
        if entry.candidate_id is not None:
            try:
                folded[entry.candidate_id] = apply(folded.get(entry.candidate_id), entry)
            except UhlpError as error:
                problems.append(FoldProblem(entry.candidate_id, f"the ledger itself does not fold: {error}"))
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


def entry_of(body: bytes) -> LedgerEntry:
    """The entry that the ledger keeps as these bytes."""
    return LedgerEntry.from_dict(strict_json.loads(body))


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
    except (UhlpError, KeyError, TypeError, ValueError):
        return decided
