"""SelfEvolutionDaemon: turns the wheel, checkpoint → propose → evaluate → decide → apply → watch (seed 002).

Each cycle compares what should be with what is: discoveries become candidates, changed specifications void theirs,
waiting work is queued, live candidates are evaluated, repositories follow the ledger.
"""

import contextlib
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import AppNotFound, ComponentNotFound, NotLeading, StateConflict, UhlpError, Unavailable
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.compiler import BEFORE_TRAFFIC, Compiler
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.discoveries import Discoveries, HeldStatus, Wish, what_was_known
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.statistics import recompile_allowed
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.verification import handler_of
from uhlp.llm import Budgets
from uhlp.llm.usage import CODER
from uhlp.models.definition import HandlerType
from uhlp.optimization.break_even import usd
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

log = structlog.get_logger(__name__)

S = CandidateState
_HOUR_S = 3600.0

NO_MONEY_BUDGET = (
    "no budget in money is set, so rules only recommend: set evolution.limits.usd_per_day, or llm.budget.usdPerDay of "
    "the application"
)


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
        config: EvolutionConfig,
    ) -> None:
        self._discoveries = discoveries
        self._budgets = budgets
        self._book = book
        self._store = store
        self._rollouts = rollouts
        self._governor = governor
        self._compiler = compiler
        self._promotion = promotion
        self._oracle = oracle
        self._samples = samples
        self._registry = app_registry
        self._clock = clock
        self._config = config

    async def open(self) -> None:
        """Take up every candidate where the ledger left it: barred code stays barred, live handlers go live again.

        What the ledger does not vouch for does not serve: with `problems`, models answer everything.
        """
        await self._book.open()
        if self._book.problems:
            for sealed in await self._store.entries(limit=-1):
                if sealed.entry.app_id is not None and sealed.entry.code_sha is not None:
                    self._rollouts.bar(sealed.entry.app_id, sealed.entry.code_sha)
            return
        for candidate in self._book.candidates():
            if candidate.code_sha is not None and not (candidate.is_open or candidate.is_serving):
                self._rollouts.bar(candidate.app_id, candidate.code_sha)
        for candidate in self._book.candidates():
            if candidate.state in (S.SHADOW, S.CANARY, S.PROMOTED):
                with contextlib.suppress(NotLeading):  # it is out of traffic; who leads can write that down
                    await self._readmit(candidate)

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
            await self._discovered(wish)
        for candidate in self._book.candidates():
            if candidate.is_open or candidate.is_serving or candidate.state is S.QUARANTINED:
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
        wish: Wish | None = None,
    ) -> Candidate:
        """A candidate for this component, queued for compilation. `wish` is what a rule asked for, None by hand.

        Where a handler is in service the candidate is to replace it, if it is better; until then it serves on.

        By hand a recommendation that waits for approval is approved, and whether it pays is noted but does not count.
        Raises StateConflict when the component has a candidate already, or must not be compiled.
        """
        component = self._registry.snapshot(app_id).components.get(component_id)
        if component is None:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        for one in (self._book.open_candidate(app_id, component_id), self._book.in_service(app_id, component_id)):
            if one is not None and one.spec_hash != component.spec_hash:
                await self._governor.supersede(one.id, reason="its specification has changed")
        component = self._registry.snapshot(app_id).components[component_id]
        current = self._book.open_candidate(app_id, component_id)
        if current is not None and wish is None and _waits_for_approval(current):
            return await self._approve(current, actor=actor, reason=reason, proposer=proposer)
        if current is not None:
            raise StateConflict(
                f"{component_id} has candidate {current.id} in state {current.state}; decide about that one first.",
                details={"candidateId": current.id, "state": current.state},
            )
        in_service = self._book.in_service(app_id, component_id)
        if component.definition.handler_type is not HandlerType.LLM and in_service is None:
            raise StateConflict(f"{component_id} is not run by a model.")
        if component.definition.optimization.mode == "off":
            raise StateConflict(f"The optimisation mode of {component_id} is off; its definition would have to change.")
        attempts = await self._store.attempts(app_id, component_id, component.spec_hash)
        if attempts.quarantined:
            raise StateConflict(f"{component_id} is quarantined: change its specification, or clear the quarantine.")
        expected = wish.expected if wish else await self._discoveries.expected(app_id, component_id)
        if wish is None and expected is not None and expected.balance.is_worth_it is False:
            reason = f"{reason} (started by hand, although {expected.balance.describe()})"
        candidate = await self._book.create(
            app_id,
            component_id,
            actor=actor,
            reason=reason,
            proposer=proposer,
            spec_hash=component.spec_hash,
            attempt=attempts.attempt + 1,
            trust=component.definition.optimization.trust,
            config_hash=self._config.digest,
            models=self._oracle.models_of(app_id),
            checkpoint=self._governor.create_checkpoint(app_id, component_id),
            approval_required=needs_approval,
            evidence=what_was_known(expected, wish.discovery if wish else None),
        )
        self._discoveries.drop(app_id, component_id)
        self._compiler.enqueue(candidate.id)
        return candidate

    async def _approve(self, candidate: Candidate, *, actor: str, reason: str, proposer: str) -> Candidate:
        changes: dict[str, Any] = {"proposer": proposer} if proposer else {}
        approved = await self._book.decide(candidate.id, actor=actor, reason=reason, approved_by=actor, **changes)
        self._compiler.enqueue(candidate.id)
        return approved

    async def _discovered(self, wish: Wish) -> None:
        """A rule asks; mode, clocks, worth and limits allow or postpone it. A rule that still holds asks again."""
        discovery = wish.discovery
        app_id, component_id = wish.place
        has_candidate = self._book.open_candidate(app_id, component_id) is not None
        if discovery.action == "compress" or has_candidate or self._store.is_paused(app_id, component_id):
            self._discoveries.drop(app_id, component_id)
            return
        because = discovery.because or ("the rule only recommends" if discovery.action == "recommend" else "")
        try:
            if not because and not self._budgets.has_money_limit(self._registry.snapshot(app_id).definition.llm.budget):
                because = NO_MONEY_BUDGET
            if not await self._may_recompile(app_id, component_id):
                self._discoveries.hold(wish, "waiting", "its last candidate failed, and the clocks have not run since")
                return
            if not because and (held := self._what_holds(wish)) is not None:
                self._discoveries.hold(wish, *held)
                return
            reason = f"{discovery.reason}; waits for approval: {because}" if because else discovery.reason
            await self.discover(
                app_id, component_id, actor="oracle", reason=reason, needs_approval=bool(because), wish=wish
            )
        except UhlpError as error:
            self._discoveries.hold(wish, "refused", error.message)

    def _what_holds(self, wish: Wish) -> tuple[HeldStatus, str] | None:
        """Why a compilation that nobody asked for by hand is not started now."""
        app_id, _component_id = wish.place
        balance = wish.expected.balance
        if balance.is_worth_it is False and not wish.discovery.is_correction:
            return "not_worth_it", balance.describe()
        now, limit = self._clock.now(), self._config.limits.compilations_per_hour
        lately = [
            one for one in self._book.candidates() if now - one.created_at < _HOUR_S and not _waits_for_approval(one)
        ]
        if len(lately) >= limit:
            return "queued", f"{len(lately)} compilations were started within the hour, {limit} are allowed"
        budget = self._registry.snapshot(app_id).definition.llm.budget
        if (refusal := self._budgets.refusal(app_id, budget, purpose=CODER)) is not None:
            return "queued", refusal.message
        left, cost = self._budgets.evolution_left_usd, wish.expected.cost.usd
        if left is not None and cost is not None and cost > left:
            return "queued", f"it takes about {usd(cost)}, and evolution has {usd(left)} left for today (UTC)"
        return None

    async def _may_recompile(self, app_id: str, component_id: str) -> bool:
        component = self._registry.snapshot(app_id).components.get(component_id)
        if component is None:
            return False
        spec_hash = component.spec_hash
        attempts = await self._store.attempts(app_id, component_id, spec_hash)
        since, failures = attempts.last_failure_at, attempts.failures
        in_service = self._book.in_service(app_id, component_id)
        if in_service is not None:  # a handler that serves is given as long as one that has failed once
            since, failures = max(since or 0.0, in_service.entered_at), max(1, failures)
        if since is None:
            return True
        new = await self._samples.count_since(app_id, component_id, since)
        rejit = self._config.rejit
        return recompile_allowed(
            failures, self._clock.now() - since, new,
            key=f"{app_id}/{component_id}/{spec_hash}", t0_s=rejit.t0_s, t_max_s=rejit.t_max_s,
            n0=rejit.n0, n_max=rejit.n_max, f_max=rejit.f_max,
        )  # fmt: skip

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
        if component is None or component.spec_hash != candidate.spec_hash:
            why = "the component is gone" if component is None else "its specification has changed"
            await self._governor.supersede(candidate.id, reason=why)
        elif candidate.state is S.DISCOVERED and self._is_expired(candidate):
            reason = "nothing came of it in time: too few samples, no approval, or no coder that answers"
            await self._book.decide(candidate.id, S.EXPIRED, actor=GOVERNOR, reason=reason)
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
        if component is None or component.spec_hash != candidate.spec_hash:
            return
        kept = await self._promotion.code_of(candidate)
        if kept is None:
            reason = "its code is no longer what the ledger says it was"
            end = self._governor.roll_back if candidate.is_serving else self._governor.reject
            await end(candidate.id, cause="lost", reason=reason)
            return
        code, _tests, record = kept
        evidence = LiveEvidence.restore(candidate, frozenset(record.get("trained", ())))
        self._governor.admit(candidate, handler_of(code), evidence)

    def _is_expired(self, candidate: Candidate) -> bool:
        since = candidate.entered_at if candidate.approved_by is None else candidate.updated_at
        return self._clock.now() - since > self._config.discovered_expires_s


def _waits_for_approval(candidate: Candidate) -> bool:
    """Whether it is a recommendation: discovered, and nobody has said yes."""
    return candidate.state is S.DISCOVERED and candidate.approval_required and candidate.approved_by is None
