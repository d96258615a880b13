"""What must hold of every ledger, whatever happened: read from its entries alone."""

from collections import defaultdict
from collections.abc import Iterable
from math import isclose

from uhlp.evolution.candidate import FAILED, OPEN, Candidate, CandidateState
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.decisions import apply
from uhlp.evolution.ledger import Event, LedgerEntry

S = CandidateState
GOVERNOR = "governor"
_HOUR_S = 3600.0
_FORWARD = frozenset({S.SYNTHESIZED, S.VERIFIED, S.SHADOW, S.CANARY, S.PROMOTED})
_ON_EVIDENCE = frozenset({S.SHADOW, S.CANARY, S.PROMOTED, S.INCONCLUSIVE})


class LedgerInvariants:
    """Folds entries one by one and collects in `broken` what must not be, in words."""

    def __init__(self, config: EvolutionConfig) -> None:
        self._config = config
        self._candidates: dict[str, Candidate] = {}
        self._pauses: set[tuple[str | None, str | None]] = set()
        self._barred: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        self._coded: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._measured: dict[str, tuple[int, str]] = {}
        self._written: dict[str, tuple[int, str]] = {}
        self.broken: list[str] = []

    def read(self, entries: Iterable[LedgerEntry]) -> None:
        """Fold more entries, in order."""
        for entry in entries:
            self._read(entry)

    def candidate(self, candidate_id: str) -> Candidate:
        """As the entries say."""
        return self._candidates[candidate_id]

    def saw(self, candidate_id: str, n: int, verdict: str) -> None:
        """A verdict that was looked at between two entries; what comes after must agree with it."""
        known_n, known = self._measured.get(candidate_id, (0, "hold"))
        if n < known_n or known not in ("hold", verdict):
            self.broken.append(f"{candidate_id}: {known} after {known_n} comparisons became {verdict} after {n}")
        self._measured[candidate_id] = (n, verdict)

    def forget_unwritten(self) -> None:
        """The power failed: clean comparisons that no entry speaks of may be lost, and a verdict with them."""
        self._measured = dict(self._written)

    def _read(self, entry: LedgerEntry) -> None:
        if entry.candidate_id is None:
            self._read_pause(entry)
            return
        before = self._candidates.get(entry.candidate_id)
        after = self._candidates[entry.candidate_id] = apply(before, entry)
        self._check_words(entry, after)
        self._check_attempt(entry, after)
        self._check_evidence(entry, after)
        if before is not None and entry.event is Event.MOVED:
            if entry.actor == GOVERNOR and after.state in _FORWARD:
                self._check_holds(entry, before, after)
            self._check_step(entry, before, after)
            self._check_code(after)
        self._check_numbers(after)

    def _read_pause(self, entry: LedgerEntry) -> None:
        scope = (entry.app_id, entry.component_id)
        if entry.event is Event.PAUSED:
            self._pauses.add(scope)
        elif entry.event is Event.RESUMED:
            self._pauses.discard(scope)

    def _break(self, one: Candidate, what: str) -> None:
        self.broken.append(f"{one.id} of {one.component_id}, {one.state}: {what}")

    def _check_words(self, entry: LedgerEntry, one: Candidate) -> None:
        """I10: who, why, and on what evidence."""
        if not (entry.actor and entry.reason.strip()):
            self._break(one, "a decision without actor or reason")
        if entry.event is Event.MOVED and one.state in _ON_EVIDENCE and "n" not in entry.evidence:
            self._break(one, "moved on without evidence")

    def _check_attempt(self, entry: LedgerEntry, one: Candidate) -> None:
        """Attempts that looked at evidence never share a number, or delta would be spent twice."""
        place = (one.app_id, one.component_id, one.spec_hash)
        if entry.event is Event.CREATED and one.attempt <= self._coded[place]:
            self._break(one, f"attempt {one.attempt} comes after attempt {self._coded[place]}")
        if one.code_sha is not None:
            self._coded[place] = max(self._coded[place], one.attempt)

    def _check_evidence(self, entry: LedgerEntry, one: Candidate) -> None:
        """I4, I9: nothing is served without proof, evidence does not shrink, a verdict stays."""
        if "verdict" not in entry.evidence:
            return
        n, verdict = int(entry.evidence["n"]), str(entry.evidence["verdict"])
        known_n, known = self._measured.get(one.id, (0, "hold"))
        if n < known_n:
            self._break(one, f"evidence fell from {known_n} comparisons to {n}")
        if known != "hold" and verdict != known:
            self._break(one, f"the verdict {known} became {verdict}")
        self._measured[one.id] = self._written[one.id] = (n, verdict)
        if not isclose(entry.evidence["deltaA"], self._config.delta / (one.attempt * (one.attempt + 1))):
            self._break(one, f"attempt {one.attempt} was measured at delta {entry.evidence['deltaA']}")
        if entry.event is not Event.MOVED:
            return
        proven = entry.evidence["proven"]
        may_be_checked = one.trust == "serve-and-check" and proven is not None and proven <= 0.1
        if one.state is S.CANARY and verdict != "accept" and not may_be_checked:
            self._break(one, f"serves on the verdict {verdict}, proven {proven}")
        if one.state is S.PROMOTED and verdict != "accept":
            self._break(one, f"promoted on the verdict {verdict}")

    def _check_holds(self, entry: LedgerEntry, before: Candidate, after: Candidate) -> None:
        """Pauses, missing approvals and a frozen application hold whatever goes forward by itself."""
        scopes = {(None, None), (after.app_id, None), (after.app_id, after.component_id)}
        if before.paused or self._pauses & scopes:
            self._break(after, "went on while paused")
        if before.approval_required and before.approved_by is None:
            self._break(after, "went on without approval")
        if after.state in (S.CANARY, S.PROMOTED):
            lately = [
                one
                for one in self._candidates.values()
                if one.app_id == after.app_id
                and (one.state is S.ROLLED_BACK or (one.state is S.QUARANTINED and one.canary_step is not None))
                and entry.ts - one.entered_at < _HOUR_S
            ]
            if len(lately) >= self._config.freeze_rollbacks_per_hour:
                self._break(after, f"went on although {len(lately)} were rolled back within the hour")

    def _check_step(self, entry: LedgerEntry, before: Candidate, after: Candidate) -> None:
        """A canary takes one step at a time, and stays on each."""
        if entry.actor != GOVERNOR or before.state is not S.CANARY or after.state not in (S.CANARY, S.PROMOTED):
            return
        steps, last = (before.canary_step or 0, after.canary_step or 0), len(self._config.canary.weights) - 1
        if after.state is S.CANARY and steps[1] not in (0, steps[0] + 1):
            self._break(after, f"stepped from {steps[0]} to {steps[1]}")
        if after.state is S.PROMOTED and steps[0] != last:
            self._break(after, f"promoted from step {steps[0]}")
        is_anew = after.state is S.CANARY and steps[1] == 0
        if not is_anew and entry.ts - before.entered_at < self._config.canary.min_step_s:
            self._break(after, "left its step too soon")

    def _check_code(self, one: Candidate) -> None:
        """Code that failed is not let in again."""
        barred = self._barred[one.app_id, one.component_id, one.spec_hash]
        if one.state in (S.VERIFIED, S.SHADOW, S.CANARY, S.PROMOTED) and one.code_sha in barred:
            self._break(one, "has code that failed before")
        if one.state in FAILED and one.code_sha is not None:
            barred.add(one.code_sha)

    def _check_numbers(self, one: Candidate) -> None:
        """At most one open and one promoted candidate a component, and so many canaries an application."""
        mine = [each for each in self._candidates.values() if each.app_id == one.app_id]
        here = [each for each in mine if each.component_id == one.component_id]
        if sum(each.state in OPEN for each in here) > 1:
            self._break(one, "is not the only open candidate")
        if sum(each.state is S.PROMOTED for each in here) > 1:
            self._break(one, "is not the only promoted candidate")
        if sum(each.state is S.CANARY for each in mine) > self._config.limits.canaries_per_application:
            self._break(one, "is one canary too many")
