"""Decisions: the only way a candidate changes what the ledger knows of it.

`create` and `decide` return the changed candidate together with the entry that says so; `apply` plays one entry,
`fold` plays all of them. The candidate that `decide` returns is the one that `apply` makes of its entry, so the two
cannot drift apart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from uhlp.errors import StateConflict
from uhlp.evolution.candidate import PROGRESS, RETURNS, TRANSITIONS, Candidate, CandidateState
from uhlp.evolution.ledger import Event, LedgerEntry

_FROM_THE_ENTRY = frozenset(
    {"id", "app_id", "component_id", "state", "reason", "created_at", "updated_at", "entered_at"}
)
Decision = tuple[Candidate, LedgerEntry]


def create(
    candidate_id: str,
    *,
    app_id: str,
    component_id: str,
    proposer: str,
    spec_hash: str,
    attempt: int,
    ts: float,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Decision:
    """A candidate in state discovered; `fields` are further fields of `Candidate` (trust, config_hash …), `evidence`
    is what was known when it was discovered.
    """
    first = Candidate(
        id=candidate_id,
        app_id=app_id,
        component_id=component_id,
        proposer=proposer,
        spec_hash=spec_hash,
        attempt=attempt,
        state=CandidateState.DISCOVERED,
        created_at=ts,
        updated_at=ts,
        entered_at=ts,
        reason=reason,
        **fields,
    )
    patch = {name: value for name, value in first.decided().items() if name not in _FROM_THE_ENTRY}
    entry = _entry(first, Event.CREATED, None, first.state, ts, actor, reason, evidence or {}, (), patch)
    return first, entry


def decide(
    candidate: Candidate,
    to: CandidateState | None = None,
    *,
    ts: float,
    actor: str,
    reason: str,
    event: Event | None = None,
    evidence: Mapping[str, Any] | None = None,
    payloads: Iterable[str] = (),
    **changes: Any,
) -> Decision:
    """Move the candidate to state `to`, or note something about it where it stands (`to` None).

    `changes` are fields of `Candidate`, decided and progress alike; the decided ones travel in the entry. Raises
    StateConflict where the table has no such transition. `evidence` are the figures the decision rests on.
    """
    if illegal := _FROM_THE_ENTRY & changes.keys():
        raise ValueError(f"the entry itself sets {sorted(illegal)}")
    after = replace(candidate, **changes)
    decided = after.decided()
    patch = {name: value for name, value in decided.items() if value != candidate.decided()[name]}
    event = event or (Event.NOTED if to is None else Event.MOVED)
    entry = _entry(
        after, event, candidate.state, to or candidate.state, ts, actor, reason, evidence or {}, tuple(payloads), patch
    )
    return replace(apply(candidate, entry), **{name: getattr(after, name) for name in PROGRESS}), entry


def apply(candidate: Candidate | None, entry: LedgerEntry) -> Candidate:
    """The candidate after this entry, progress fields as they were. StateConflict if the entry does not follow."""
    if entry.event is Event.CREATED:
        if candidate is not None:
            raise StateConflict(f"Candidate {entry.candidate_id} exists already.")
        place = {"id": entry.candidate_id, "app_id": entry.app_id, "component_id": entry.component_id}
        times = {"created_at": entry.ts, "updated_at": entry.ts, "entered_at": entry.ts}
        return Candidate.from_dict({**entry.patch, **place, **times, "state": entry.to_state, "reason": entry.reason})
    if candidate is None or candidate.id != entry.candidate_id or candidate.state != entry.from_state:
        where = "is unknown" if candidate is None else f"is {candidate.state}"
        raise StateConflict(f"Candidate {entry.candidate_id} {where}, not {entry.from_state}: it has moved on.")
    changed: dict[str, Any] = {**entry.patch, "updated_at": entry.ts}
    if entry.event in (Event.MOVED, Event.RETURNED):
        to = CandidateState(str(entry.to_state))
        if entry.event is Event.MOVED:
            allowed = TRANSITIONS[candidate.state]
        else:
            allowed = RETURNS.get(candidate.state, frozenset()) if candidate.version is not None else frozenset()
        if to not in allowed:
            raise StateConflict(f"A candidate does not go from {candidate.state} to {to}.")
        changed |= {"state": to, "entered_at": entry.ts, "reason": entry.reason}
    return Candidate.from_dict({**candidate.decided(), **changed, **candidate.progress()})


def fold(entries: Iterable[LedgerEntry]) -> Candidate:
    """The candidate that these entries (all of one candidate, in order) make; its progress fields are empty."""
    candidate: Candidate | None = None
    for entry in entries:
        candidate = apply(candidate, entry)
    if candidate is None:
        raise ValueError("no entries, no candidate")
    return candidate


def _entry(
    candidate: Candidate,
    event: Event,
    from_state: CandidateState | None,
    to_state: CandidateState,
    ts: float,
    actor: str,
    reason: str,
    evidence: Mapping[str, Any],
    payloads: tuple[str, ...],
    patch: Mapping[str, Any],
) -> LedgerEntry:
    return LedgerEntry(
        ts=ts,
        actor=actor,
        event=event,
        reason=reason,
        app_id=candidate.app_id,
        component_id=candidate.component_id,
        candidate_id=candidate.id,
        from_state=from_state,
        to_state=to_state,
        evidence=evidence,
        code_sha=candidate.code_sha,
        spec_hash=candidate.spec_hash,
        config_hash=candidate.config_hash,
        baseline_revision=candidate.checkpoint.revision if candidate.checkpoint else None,
        payloads=payloads,
        patch=patch,
    )
