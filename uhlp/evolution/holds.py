"""Holds: why a candidate that has earned the next stage does not enter it yet. A hold is no verdict."""

from uhlp.clock import Clock
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.live_candidates import LiveCandidates
from uhlp.evolution.store import EvolutionStore

S = CandidateState
_HOUR_S = 3600.0


class Holds:
    """Reads only. Alarms do not ask here: they are heard in every state."""

    def __init__(
        self, *, book: CandidateBook, store: EvolutionStore, live: LiveCandidates, clock: Clock, config: ConfigInForce
    ) -> None:
        self._book = book
        self._store = store
        self._live = live
        self._clock = clock
        self._config = config

    def what_holds(self, candidate: Candidate) -> str | None:
        """The first thing that holds it, in words; None when nothing does."""
        if candidate.paused or self._store.is_paused(candidate.app_id, candidate.component_id):
            return "paused"
        if candidate.approval_required and candidate.approved_by is None:
            return "waits for approval"
        live = self._live.evidence_of(candidate.id)
        if live is not None and candidate.state is S.CANARY and live.canary is not None and live.canary.has_mismatch:
            assert live.canary.assignment is not None  # noqa: S101  who found the mismatch
            found = live.canary.assignment.describe()
            return f"a routing bug: {found}; its arms compare nothing until somebody resumes it"
        if live is not None and live.unasked:
            return f"{len(live.unasked)} answers that differ from the model's wait to be judged"
        if live is not None and live.unanswered:
            return f"the last checks, {live.unanswered} in a row, could not be made"
        if (frozen := self.frozen(candidate.app_id)) is not None:
            return frozen
        canaries = self._book.candidates(candidate.app_id, state=S.CANARY) if candidate.state is S.SHADOW else []
        if len(canaries) >= self._config.now.limits.canaries_per_application:
            return f"waits its turn: {canaries[0].component_id} is the application's canary now"
        return None

    def frozen(self, app_id: str) -> str | None:
        """Why no candidate of this application goes on for now: too many rollbacks; None when it is not frozen."""
        recent = [
            one
            for one in self._book.candidates(app_id)
            if (one.state is S.ROLLED_BACK or (one.state is S.QUARANTINED and one.canary_step is not None))
            and self._clock.now() - one.entered_at < _HOUR_S
        ]
        if len(recent) < self._config.now.freeze_rollbacks_per_hour:
            return None
        return f"frozen: {len(recent)} rollbacks within an hour; nothing of this application goes on until that is past"
