"""What earlier attempts at one component and specification leave behind: counters, barred code, quarantine."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from uhlp.evolution.candidate import FAILED, CandidateState, Kind
from uhlp.evolution.ledger import Event, LedgerEntry


@dataclass(frozen=True, slots=True)
class Attempts:
    """Counters of (component, specification hash, kind of candidate).

    `attempt` is the highest attempt that produced code (it never falls; the next one is `attempt + 1`): an attempt
    that expired before there was code looked at no evidence and spends nothing. `failures` is f: one more per
    rejected, rolled back or quarantined candidate, one less per `forgiven` entry. `causes` are those of the failures,
    newest last.
    """

    attempt: int = 0
    failures: int = 0
    last_failure_at: float | None = None
    causes: tuple[str, ...] = ()
    barred: frozenset[str] = field(default_factory=frozenset)
    quarantined: bool = False

    def same_cause_in_a_row(self) -> int:
        """How many of the newest failures share one known cause."""
        if not self.causes or not self.causes[-1]:
            return 0
        run = 0
        for cause in reversed(self.causes):
            if cause != self.causes[-1]:
                break
            run += 1
        return run


def attempts_of(entries: Iterable[LedgerEntry], kind: Kind = "jit") -> Attempts:
    """Fold the entries of one component and specification, in order; those of candidates of one kind count."""
    attempt = failures = 0
    last_failure_at: float | None = None
    causes: list[str] = []
    barred: set[str] = set()
    quarantined: set[str] = set()
    number: dict[str, int] = {}
    cause: dict[str, str] = {}
    others: set[str] = set()
    for entry in entries:
        one = entry.candidate_id or ""
        if entry.event is Event.CREATED:
            number[one] = int(entry.patch["attempt"])
            if entry.patch.get("kind", "jit") != kind:
                others.add(one)
        if one in others:
            continue
        cause[one] = entry.patch.get("cause", cause.get(one)) or ""
        if entry.code_sha is not None:
            attempt = max(attempt, number.get(one, 0))
        if entry.event is Event.FORGIVEN:
            failures = max(0, failures - 1)
        if entry.event is not Event.MOVED:
            continue
        if entry.to_state in FAILED and entry.from_state not in FAILED:
            failures += 1
            last_failure_at = entry.ts
            causes.append(cause[one])
        if entry.to_state in FAILED and entry.code_sha is not None:
            barred.add(entry.code_sha)
        if entry.to_state == CandidateState.QUARANTINED:
            quarantined.add(one)
        else:
            quarantined.discard(one)
    return Attempts(attempt, failures, last_failure_at, tuple(causes), frozenset(barred), bool(quarantined))
