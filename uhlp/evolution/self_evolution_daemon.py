"""SelfEvolutionDaemon: turns the wheel, checkpoint → propose → evaluate → decide → apply → watch (seed 002).

Each cycle compares what should be with what is: discoveries become candidates, changed specifications void theirs,
waiting work is queued, live candidates are evaluated, repositories follow the ledger.
"""

import contextlib

import structlog

from uhlp.clock import Clock
from uhlp.errors import AppNotFound, Unavailable
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Kind
from uhlp.evolution.compilation_starts import CompilationStarts
from uhlp.evolution.compiler import BEFORE_TRAFFIC, Compiler
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.discoveries import Discoveries
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.traffic_switch import is_withdrawn
from uhlp.evolution.voiding import why_void
from uhlp.llm import Budgets
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

log = structlog.get_logger(__name__)

S = CandidateState


class SelfEvolutionDaemon:
    """One cycle every `evolution.cycle_s`; `run_cycle` may also be called at once."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        rollouts: Rollouts,
        governor: SafetyGovernor,
        compiler: Compiler,
        promotion: Promotion,
        oracle: OptimizationOracle,
        discoveries: Discoveries,
        budgets: Budgets,
        samples: SampleStore,
        app_registry: ApplicationRegistry,
        clock: Clock,
        config: ConfigInForce,
    ) -> None:
        self._discoveries = discoveries
        self._starts = CompilationStarts(
            book=book, store=store, governor=governor, compiler=compiler, oracle=oracle, discoveries=discoveries,
            budgets=budgets, samples=samples, app_registry=app_registry, clock=clock, config=config,
        )  # fmt: skip
        self._book = book
        self._store = store
        self._rollouts = rollouts
        self._governor = governor
        self._compiler = compiler
        self._promotion = promotion
        self._oracle = oracle
        self._registry = app_registry
        self._clock = clock
        self._config = config

    async def open(self) -> None:
        """Take up every candidate where the ledger left it: barred code stays barred, live handlers go live again.

        What the ledger does not vouch for does not serve: with `problems`, models answer everything.
        """
        await self._book.open()
        if self._book.problems:
            code = {(one.app_id, one.code_sha) for one in await self._store.readable_entries()}
            code |= {(one.app_id, one.code_sha) for one in self._book.candidates()}
            for app_id, code_sha in code:
                if app_id is not None and code_sha is not None:
                    self._rollouts.bar(app_id, code_sha)
            return
        for candidate in self._book.candidates():
            if candidate.code_sha is not None and not (candidate.is_open or candidate.is_serving):
                await self._keep_out(candidate)
        for candidate in self._book.active():
            if candidate.state in (S.SHADOW, S.CANARY, S.PROMOTED):
                with contextlib.suppress(Unavailable):  # what has to go is out of traffic, and written down by a cycle
                    await self._readmit(candidate)
                    await self._governor.evaluate_candidate(candidate.id)  # an alarm may stand since before

    async def _keep_out(self, candidate: Candidate) -> None:
        """What is over serves no more, although its definition may still point at it."""
        assert candidate.code_sha is not None  # noqa: S101  the caller asked
        if not candidate.is_prompt:
            self._rollouts.bar(candidate.app_id, candidate.code_sha)
        elif is_withdrawn(candidate):
            work = await self._promotion.work_of(candidate)
            if work is not None and work.previous is not None:
                self._rollouts.withdraw(candidate.app_id, candidate.code_sha, work.previous)

    async def aclose(self) -> None:
        """Keep what was measured since the last cycle."""
        self._governor.keep_all()
        await self._book.save()

    async def run_cycle(self) -> None:
        """One turn of the wheel."""
        if self._book.problems:
            return
        found = {(one.app_id, one.component_id): one for one in self._governor.improvements()}
        found |= {(one.app_id, one.component_id): one for one in self._oracle.take_discoveries()}
        for wish in await self._discoveries.ranked(found.values()):
            await self._starts.consider(wish)
        for candidate in self._book.active():
            try:
                await self._advance(candidate)
            except Exception as error:  # one candidate's trouble must not keep another's alarm from being heard
                log.exception("candidate_not_advanced", candidate=candidate.id, why=str(error))
        for app_id in await self._registry.list_active_applications():
            for component_id in self._registry.snapshot(app_id).components:
                await self._promotion.reconcile(app_id, component_id)
        await self._book.save()
        await self._store.flush()

    async def toggle_pause(self, *, actor: str, reason: str) -> bool:
        """Pause evolution everywhere, or resume it; True when it is paused now (seed 002)."""
        if self._store.is_paused():
            await self._store.resume(actor=actor, reason=reason)
        else:
            await self._store.pause(actor=actor, reason=reason)
        return self._store.is_paused()

    async def discover(
        self,
        app_id: str,
        component_id: str,
        *,
        actor: str,
        reason: str,
        proposer: str = "",
        needs_approval: bool = False,
        kind: Kind = "jit",
    ) -> Candidate:
        """A candidate for this component because a person asks for one (`CompilationStarts.start`)."""
        return await self._starts.start(
            app_id,
            component_id,
            actor=actor,
            reason=reason,
            proposer=proposer,
            needs_approval=needs_approval,
            kind=kind,
        )

    async def _advance(self, candidate: Candidate) -> None:
        candidate = self._book.candidate(candidate.id)  # as it stands now: others decide beside this loop
        if candidate.state is S.QUARANTINED:
            await self._lift_quarantine(candidate)
        if not (candidate.is_open or candidate.is_serving):
            return
        try:
            component = self._registry.snapshot(candidate.app_id).components.get(candidate.component_id)
        except AppNotFound:
            component = None
        except Unavailable:  # its definition cannot be read now: nothing is known of the component
            return
        void = "the component is gone" if component is None else why_void(candidate, component)
        if void is not None:
            await self._governor.supersede(candidate.id, reason=void)
            await self._compiler.abandon(candidate.id)
        elif candidate.state is S.DISCOVERED and self._is_expired(candidate):
            reason = "nothing came of it in time: too few samples, no approval, or no coder that answers"
            await self._book.decide(candidate.id, S.EXPIRED, actor=GOVERNOR, reason=reason)
            await self._compiler.abandon(candidate.id)
        elif candidate.state in BEFORE_TRAFFIC:
            self._compiler.enqueue(candidate.id)
        elif candidate.state is not S.INCONCLUSIVE:
            if self._governor.evidence_of(candidate.id) is None:  # its application was out of service at the start
                await self._readmit(candidate)
            await self._governor.evaluate_candidate(candidate.id)

    async def _lift_quarantine(self, candidate: Candidate) -> None:
        """Another model or coder may do better. (Another specification is not quarantined in the first place.)"""
        if candidate.app_id in self._registry.app_ids() and candidate.models is not None:
            now = self._oracle.models_of(candidate.app_id)
            if now != candidate.models:
                reason = f"it failed with {candidate.models}; now there is {now}"
                await self._governor.clear_quarantine(candidate.id, actor=GOVERNOR, reason=reason)

    async def _readmit(self, candidate: Candidate) -> None:
        if candidate.app_id not in self._registry.app_ids():
            return  # out of service for now, or gone: the next cycle finds out
        component = self._registry.snapshot(candidate.app_id).components.get(candidate.component_id)
        if component is None or why_void(candidate, component) is not None:
            if candidate.code_sha is not None and not candidate.is_prompt:
                # its definition may still point at it, until a cycle ends it
                self._rollouts.bar(candidate.app_id, candidate.code_sha)
            return
        work = await self._promotion.work_of(candidate)
        if work is None:
            reason = "its code is no longer what the ledger says it was"
            end = self._governor.roll_back if candidate.is_serving else self._governor.reject
            await end(candidate.id, cause="lost", reason=reason)
            return
        evidence = LiveEvidence.restore(candidate, work.trained)
        self._governor.admit(candidate, work.implementation, evidence, work.previous)

    def _is_expired(self, candidate: Candidate) -> bool:
        since = candidate.entered_at if candidate.approved_by is None else candidate.updated_at
        return self._clock.now() - since > self._config.now.discovered_expires_s
