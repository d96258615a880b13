"""Forgiveness: a handler that behaves in service takes failures of earlier attempts off the component's count."""

from uhlp.clock import Clock
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.endings import GOVERNOR
from uhlp.evolution.ledger import Event
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.statistics import failure_is_forgiven
from uhlp.evolution.store import EvolutionStore


class Forgiveness:
    """One failure for 7 days in full service without an alarm and 1,000 executions; then the count begins anew. A
    failure meanwhile (of a candidate that was to replace it) begins it anew, too.
    """

    def __init__(self, *, book: CandidateBook, store: EvolutionStore, clock: Clock) -> None:
        self._book = book
        self._store = store
        self._clock = clock

    async def consider(self, candidate: Candidate, live: LiveEvidence) -> None:
        """Forgive a failure if the time has come. Quick unless it has: this is asked with every evaluation."""
        if candidate.state is not CandidateState.PROMOTED:
            return
        now = self._clock.now()
        since, executions = live.clean or (candidate.entered_at, 0)
        since = max(since, candidate.entered_at)
        if not failure_is_forgiven(now - since, live.executions - executions):
            return
        attempts = await self._store.attempts(
            candidate.app_id, candidate.component_id, candidate.spec_hash, candidate.kind
        )
        if attempts.last_failure_at is not None and attempts.last_failure_at > since:
            live.clean = (attempts.last_failure_at, live.executions)
            return
        live.clean = (now, live.executions)
        if attempts.failures:
            days = (now - since) / 86_400
            reason = f"{days:.0f} days in service without an alarm: one of {attempts.failures} failures is forgiven"
            await self._book.decide(candidate.id, actor=GOVERNOR, reason=reason, event=Event.FORGIVEN)
