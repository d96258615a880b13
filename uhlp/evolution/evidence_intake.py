"""EvidenceIntake: what is measured of candidates in live traffic comes in here, and is kept. It decides nothing but to
pause a candidate that cannot be measured.
"""

from uhlp.catalogue import evolution
from uhlp.clock import Clock
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Mismatch
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.entry_order import Place
from uhlp.evolution.live_candidates import LiveCandidates
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.execution import ExecutionResult
from uhlp.metering import Meter
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.split import split_of


class EvidenceIntake:
    """Methods that return a bool say whether there is something to decide about now."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        live: LiveCandidates,
        clock: Clock,
        config: ConfigInForce,
        meter: Meter,
    ) -> None:
        self._book = book
        self._live = live
        self._clock = clock
        self._config = config
        self._comparisons = evolution.COMPARISONS.on(meter)

    async def record(self, candidate_id: str, comparison: Comparison, place: Place | None = None) -> bool:
        """Enter one comparison: what it says at once, and as evidence when its turn has come (without a `place` it
        begins now)."""
        live = self._live.evidence_of(candidate_id)
        candidate = self._book.candidate(candidate_id)
        if live is None or self._live.component_of(candidate) is None:
            return False
        live.measuring_errors = live.unanswered = 0
        self._comparisons.labels(candidate.app_id, candidate.component_id, comparison.stage, comparison.outcome).inc()
        if place is None:
            place = live.order.take()
            place.standing = live.standing_of(comparison)
        cap = self._config.now.duplicates_cap
        live.note(comparison, standing=place.standing, duplicates_cap=cap, is_serving=candidate.is_serving)
        self._settle(live, place, comparison)
        if comparison.outcome == "wrong":
            self.keep_mismatch(candidate_id, comparison)
            self._live.keep(candidate_id, whole=False)
            await self._book.save(candidate_id)  # a crash may cost clean comparisons, never a wrong one
        return True

    def release(self, candidate_id: str, place: Place) -> bool:
        """Nothing came of a comparison that had begun; whether others that waited behind it were entered."""
        live = self._live.evidence_of(candidate_id)
        return live is not None and self._settle(live, place, None)

    def _settle(self, live: LiveEvidence, place: Place, comparison: Comparison | None) -> bool:
        before = live.account.n
        for due, standing in live.order.settle(place, comparison):
            live.prove(due, standing=standing, duplicates_cap=self._config.now.duplicates_cap)
        return live.account.n > before

    def keep_mismatch(self, candidate_id: str, comparison: Comparison) -> None:
        """Keep a lost comparison where people can look at it and the next attempt can learn from it."""
        candidate = self._book.candidate(candidate_id)
        component = self._live.component_of(candidate)
        redacted = component.configuration.get("redact", ()) if component is not None else ()
        digest, value = comparison.payload(Redaction(redacted))
        mismatch = Mismatch(
            digest, comparison.stage, comparison.reference, self._clock.now(), split_of(comparison.input_hash),
            unanswered=comparison.was_cut_off,
        )  # fmt: skip
        self._book.grow(candidate_id, payloads={digest: value}, mismatches=candidate.with_mismatch(mismatch).mismatches)

    async def record_execution(self, candidate_id: str, result: ExecutionResult, *, is_live: bool) -> bool:
        """Count one input that was put to the handler, in shadow or (`is_live`) for a user."""
        live = self._live.evidence_of(candidate_id)
        if live is None:
            return False
        has_failed = result.outcome == "failed"
        live.see(latency_ms=result.latency_ms if result.outcome == "ok" else None)
        live.executions += is_live
        is_serving = self._book.candidate(candidate_id).is_serving
        if result.outcome != "deoptimize":
            live.step_executions += is_live
            if is_serving:
                live.watch(result)
        if is_serving and has_failed:
            self._live.keep(candidate_id, whole=False)
            await self._book.save(candidate_id)
        return is_serving and has_failed

    async def record_measuring_error(self, candidate_id: str, why: str, *, actor: str) -> None:
        """An error of measuring is no score; several in a row pause the candidate."""
        live = self._live.evidence_of(candidate_id)
        if live is None:
            return
        live.unanswered += 1
        if self._book.candidate(candidate_id).paused:
            return
        live.measuring_errors += 1
        if live.measuring_errors >= self._config.now.measuring_errors_in_a_row:
            count = f"{live.measuring_errors} checks in a row could not be made"
            reason = f"paused: {count}, which says nothing about the handler; the last: {why}"
            live.measuring_errors = 0
            await self._book.decide(candidate_id, actor=actor, reason=reason, paused=True)
