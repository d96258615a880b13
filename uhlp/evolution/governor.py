"""SafetyGovernor: lets a candidate into traffic step by step, by evidence, and takes it out again (seed 002).

Evidence comes in (`EvidenceIntake`), stages are decided by it (`Stages`) unless something holds them (`Holds`), and
candidates end (`Endings`). Every decision is written to the ledger before anything is switched. A rollback only changes
what routing reads.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import StateConflict
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Checkpoint
from uhlp.evolution.checkpoints import Checkpoints
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.endings import GOVERNOR as GOVERNOR
from uhlp.evolution.endings import Endings
from uhlp.evolution.entry_order import Place
from uhlp.evolution.evidence_intake import EvidenceIntake
from uhlp.evolution.forgiveness import Forgiveness
from uhlp.evolution.holds import Holds
from uhlp.evolution.improvements import Improvements
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.live_candidates import LiveCandidates
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.stages import Stages
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.tampering import TAMPERING, forbidden_calls_of, tampered
from uhlp.evolution.traffic_switch import TrafficSwitch
from uhlp.evolution.voiding import why_void
from uhlp.execution import ExecutionResult, Implementation
from uhlp.keyed_locks import KeyedLocks
from uhlp.metering import Meter, NullMeter
from uhlp.metrics.windows import Windows
from uhlp.optimization.optimization_oracle import Discovery
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import Artifact

log = structlog.get_logger(__name__)

S = CandidateState


class SafetyGovernor:
    """Decides about candidates in live traffic. One instance a server."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        rollouts: Rollouts,
        promotion: Promotion,
        anchors: LedgerAnchors,
        app_registry: ApplicationRegistry,
        windows: Windows,
        clock: Clock,
        config: ConfigInForce,
        always_shadow: bool = False,
        meter: Meter | None = None,
    ) -> None:
        traffic = TrafficSwitch(
            rollouts=rollouts,
            app_registry=app_registry,
            windows=windows,
            config=config,
            always_shadow=always_shadow,
        )
        self._book = book
        self._checkpoints = Checkpoints(book=book, app_registry=app_registry, windows=windows, config=config)
        self._live = LiveCandidates(book=book, traffic=traffic, app_registry=app_registry)
        self._intake = EvidenceIntake(
            book=book, live=self._live, clock=clock, config=config, meter=meter or NullMeter()
        )
        self._holds = Holds(book=book, store=store, live=self._live, clock=clock, config=config)
        self._endings = Endings(
            book=book, store=store, live=self._live, promotion=promotion, anchors=anchors, config=config
        )
        self._stages = Stages(
            book=book, live=self._live, holds=self._holds, endings=self._endings, checkpoints=self._checkpoints,
            promotion=promotion, anchors=anchors, clock=clock, config=config,
        )  # fmt: skip
        self._forgiveness = Forgiveness(book=book, store=store, clock=clock)
        self._improvements = Improvements(book=book, app_registry=app_registry, windows=windows, config=config)
        self._deciding = KeyedLocks[tuple[str, str]]()
        """By component: a handler in service and the candidate that is to replace it are decided about in turn."""

    # -- into traffic ------------------------------------------------------------------------------------------------

    def create_checkpoint(self, app_id: str, component_id: str) -> Checkpoint:
        """Where a rollback of this component returns to: the revision now, and the baseline's statistics (seed 002)."""
        return self._checkpoints.create(app_id, component_id)

    async def rehearse_restore(self, app_id: str, component_id: str, checkpoint: Checkpoint) -> None:
        """Make sure that a rollback to this checkpoint leads somewhere. Raises StateConflict where it would not."""
        await self._checkpoints.rehearse(app_id, component_id, checkpoint)

    def admit(
        self,
        candidate: Candidate,
        implementation: Implementation,
        evidence: LiveEvidence,
        previous: Artifact | None = None,
    ) -> None:
        """Take a verified candidate, or one that a restart interrupted, into live traffic as its state says; a prompt
        with the one that it is held against."""
        self._live.admit(candidate, implementation, evidence, previous)
        if candidate.state is S.CANARY and evidence.canary is None:
            self._stages.begin_arms(candidate)

    def evidence_of(self, candidate_id: str) -> LiveEvidence | None:
        """What is measured of a candidate in live traffic; None for any other."""
        return self._live.evidence_of(candidate_id)

    # -- evidence comes in -------------------------------------------------------------------------------------------

    async def record(self, candidate_id: str, comparison: Comparison, place: Place | None = None) -> None:
        """Enter one comparison and decide at once if it decides anything. `place`: where it stands in the order of
        those that began (`EntryOrder`); without one it begins now.
        """
        if await self._intake.record(candidate_id, comparison, place):
            await self.evaluate_candidate(candidate_id)

    async def release(self, candidate_id: str, place: Place) -> None:
        """Nothing came of a comparison that had begun: those behind it wait no longer."""
        if self._intake.release(candidate_id, place):
            await self.evaluate_candidate(candidate_id)

    def keep_mismatch(self, candidate_id: str, comparison: Comparison) -> None:
        """Keep a lost comparison where people can look at it and the next attempt can learn from it."""
        self._intake.keep_mismatch(candidate_id, comparison)

    async def record_execution(self, candidate_id: str, result: ExecutionResult, *, is_live: bool) -> None:
        """Count one input that was put to the handler, in shadow or (`is_live`) for a user; failures raise alarms."""
        if signs := forbidden_calls_of(result):
            await self._quarantine_tamperer(candidate_id, signs)
        elif await self._intake.record_execution(candidate_id, result, is_live=is_live):
            await self.evaluate_candidate(candidate_id)

    async def _quarantine_tamperer(self, candidate_id: str, signs: list[str]) -> None:
        async with self._deciding_about(candidate_id):
            if self._live.evidence_of(candidate_id) is not None:
                await self.quarantine(candidate_id, cause=TAMPERING, reason=tampered(signs))

    async def record_measuring_error(self, candidate_id: str, why: str) -> None:
        """An error of measuring is no score; several in a row pause the candidate."""
        async with self._deciding_about(candidate_id):
            await self._intake.record_measuring_error(candidate_id, why, actor=GOVERNOR)

    def unanswered_checks(self, candidate_id: str) -> int:
        """How many of the newest comparisons in a row could not be made, because nobody answered."""
        live = self._live.evidence_of(candidate_id)
        return live.unanswered if live is not None else 0

    def keep_all(self) -> None:
        """Let the book know what has been measured of every candidate in live traffic: the server ends."""
        self._live.keep_all()

    # -- decisions ---------------------------------------------------------------------------------------------------

    async def evaluate_candidate(self, candidate_id: str) -> None:
        """Decide what the evidence allows now (seed 002). Alarms count in every live state, also while paused."""
        async with self._deciding_about(candidate_id):
            live = self._live.evidence_of(candidate_id)
            candidate = self._book.candidate(candidate_id)
            component = self._live.component_of(candidate)
            if live is None or component is None or why_void(candidate, component) is not None:
                return  # gone or changed: routing does not use it any more, and the daemon voids it
            self._live.keep(candidate_id, whole=False)
            try:
                if await self._endings.write_what_is_due(candidate_id):
                    return
                if candidate.state is S.SHADOW:
                    await self._stages.evaluate_shadow(candidate, live, component.definition)
                elif candidate.is_serving:
                    await self._stages.evaluate_serving(candidate, live, component.definition)
                    await self._forgiveness.consider(self._book.candidate(candidate_id), live)
            except StateConflict as conflict:  # a person's decision came first; it stands
                log.info("decision_overtaken", candidate=candidate_id, why=conflict.message)

    def improvements(self) -> list[Discovery]:
        """Handlers in service that a better one might replace."""
        return list(self._improvements.found())

    def _deciding_about(self, candidate_id: str) -> asyncio.Lock:
        candidate = self._book.candidate(candidate_id)
        return self._deciding[candidate.app_id, candidate.component_id]

    async def promote(self, candidate_id: str, *, reason: str, actor: str = GOVERNOR) -> Candidate:
        """Put a canary into full service as the component's next version."""
        return await self._stages.promote(self._book.candidate(candidate_id), reason=reason, actor=actor)

    async def resume(self, candidate_id: str, *, actor: str, reason: str) -> Candidate:
        """Lift a pause. Where routing did not keep the weight, the arms of the canary are compared anew from now."""
        candidate = await self._book.decide(candidate_id, actor=actor, reason=reason, paused=False)
        live = self._live.evidence_of(candidate_id)
        if live is not None and live.canary is not None and live.canary.has_mismatch:
            self._stages.begin_arms(candidate)
        return candidate

    def what_holds(self, candidate: Candidate) -> str | None:
        """Why a candidate that has earned the next stage does not enter it; None when nothing holds it."""
        return self._holds.what_holds(candidate)

    def frozen(self, app_id: str) -> str | None:
        """Why no candidate of this application goes on for now: too many rollbacks; None when it is not frozen."""
        return self._holds.frozen(app_id)

    # -- out of traffic ----------------------------------------------------------------------------------------------

    async def reject(
        self,
        candidate_id: str,
        *,
        cause: str,
        reason: str,
        actor: str = GOVERNOR,
        evidence: Mapping[str, Any] | None = None,
    ) -> Candidate:
        """End a candidate that never answered a user. Raises StateConflict when its state has no such end."""
        return await self._endings.end(
            candidate_id, S.REJECTED, cause=cause, reason=reason, actor=actor, evidence=evidence
        )

    async def roll_back(self, candidate_id: str, *, cause: str, reason: str, actor: str = GOVERNOR) -> Candidate:
        """Take a candidate out of service at once. Raises StateConflict when it does not serve."""
        return await self._endings.end(candidate_id, S.ROLLED_BACK, cause=cause, reason=reason, actor=actor)

    async def supersede(self, candidate_id: str, *, reason: str) -> Candidate:
        """Its specification has changed: what it proved is void."""
        return await self._endings.end(candidate_id, S.SUPERSEDED, cause="superseded", reason=reason, actor=GOVERNOR)

    async def quarantine(self, candidate_id: str, *, cause: str, reason: str, actor: str = GOVERNOR) -> Candidate:
        """Stay on the model until specification, model or coder change, or a person clears it."""
        return await self._endings.end(candidate_id, S.QUARANTINED, cause=cause, reason=reason, actor=actor)

    async def clear_quarantine(self, candidate_id: str, *, actor: str, reason: str) -> Candidate:
        """Let the component be compiled again: the candidate stays refused, and one failure is forgiven."""
        return await self._endings.clear_quarantine(candidate_id, actor=actor, reason=reason)
