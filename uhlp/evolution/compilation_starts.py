"""CompilationStarts: how a discovery becomes a candidate. A rule's wish is held against mode, clocks, worth and limits;
a person skips these, never the verification that follows.
"""

from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, StateConflict, UhlpError
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Kind
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.discoveries import Discoveries, HeldStatus, Wish, what_was_known
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.prompt_synthesis import why_no_shorter_prompt
from uhlp.evolution.prompt_wishes import PromptWishes
from uhlp.evolution.statistics import recompile_allowed
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.voiding import why_void
from uhlp.llm import Budgets
from uhlp.llm.usage import CODER
from uhlp.models.definition import HandlerType
from uhlp.optimization.break_even import usd
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

S = CandidateState
_HOUR_S = 3600.0

NO_MONEY_BUDGET = (
    "no budget in money is set, so rules only recommend: set evolution.limits.usd_per_day, or llm.budget.usdPerDay of "
    "the application"
)


TOO_SOON = "its last handler is recent; time and new recorded calls have to pass before a rule asks for another"


class CompilationStarts:
    """Makes candidates and queues them for the compiler."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        governor: SafetyGovernor,
        compiler: Compiler,
        oracle: OptimizationOracle,
        discoveries: Discoveries,
        budgets: Budgets,
        samples: SampleStore,
        app_registry: ApplicationRegistry,
        clock: Clock,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._store = store
        self._governor = governor
        self._compiler = compiler
        self._oracle = oracle
        self._discoveries = discoveries
        self._budgets = budgets
        self._samples = samples
        self._registry = app_registry
        self._clock = clock
        self._config = config
        self._prompts = PromptWishes(book=book, app_registry=app_registry)

    async def start(
        self,
        app_id: str,
        component_id: str,
        *,
        actor: str,
        reason: str,
        proposer: str = "",
        needs_approval: bool = False,
        wish: Wish | None = None,
        kind: Kind = "jit",
    ) -> Candidate:
        """A candidate for this component, queued for compilation or, of `kind` prompt, for the OptimizeLoop. `wish` is
        what a rule asked for, None by hand.

        Where a handler is in service the candidate is to replace it, if it is better; until then it serves on.

        By hand a recommendation that waits for approval is approved, and whether it pays is noted but does not count.
        Raises StateConflict when the component has a candidate already, or must not be compiled.
        """
        component = self._registry.snapshot(app_id).components.get(component_id)
        if component is None:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        for one in (
            self._book.open_candidate(app_id, component_id),
            self._book.in_service(app_id, component_id),
            self._book.in_service(app_id, component_id, "prompt"),
        ):
            if one is not None and (void := why_void(one, component)) is not None:
                await self._governor.supersede(one.id, reason=void)
        component = self._registry.snapshot(app_id).components[component_id]
        current = self._book.open_candidate(app_id, component_id)
        if current is not None and wish is None and current.kind == kind and _waits_for_approval(current):
            return await self._approve(current, actor=actor, reason=reason, proposer=proposer)
        if current is not None:
            raise StateConflict(
                f"{component_id} has candidate {current.id} in state {current.state}; decide about that one first.",
                details={"candidateId": current.id, "state": current.state},
            )
        if kind == "prompt":
            if (why_not := why_no_shorter_prompt(self._book, self._registry.snapshot(app_id), component)) is not None:
                raise StateConflict(f"The prompt of {component_id} cannot be shortened: {why_not}.")
        elif component.definition.handler_type is not HandlerType.LLM and (
            self._book.in_service(app_id, component_id) is None
        ):
            raise StateConflict(f"{component_id} is not run by a model.")
        if component.definition.optimization.mode == "off":
            raise StateConflict(f"The optimisation mode of {component_id} is off; its definition would have to change.")
        attempts = await self._store.attempts(app_id, component_id, component.spec_hash, kind)
        if attempts.quarantined:
            raise StateConflict(f"{component_id} is quarantined: change its specification, or clear the quarantine.")
        expected = wish.expected if wish else None
        if wish is None and kind == "jit":
            expected = await self._discoveries.expected(app_id, component_id)
        if wish is None and expected is not None and expected.balance.is_worth_it is False:
            reason = f"{reason} (started by hand, although {expected.balance.describe()})"
        checkpoint = self._governor.create_checkpoint(app_id, component_id)
        await self._governor.rehearse_restore(app_id, component_id, checkpoint)
        candidate = await self._book.create(
            app_id,
            component_id,
            actor=actor,
            reason=reason,
            proposer=proposer,
            spec_hash=component.spec_hash,
            attempt=attempts.attempt + 1,
            trust="prove-first" if kind == "prompt" else component.definition.optimization.trust,
            kind=kind,
            config_hash=self._config.now.digest,
            models=self._oracle.models_of(app_id),
            checkpoint=checkpoint,
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

    async def consider(self, wish: Wish) -> None:
        """A rule asks; mode, clocks, worth and limits allow or postpone it. A rule that still holds asks again."""
        discovery = wish.discovery
        app_id, component_id = wish.place
        has_candidate = self._book.open_candidate(app_id, component_id) is not None
        if has_candidate or self._store.is_paused(app_id, component_id):
            self._discoveries.drop(app_id, component_id)
            return
        wish, kind = self._prompts.instead(wish)
        if kind == "prompt" and not self._prompts.is_wanted(app_id, component_id):
            self._discoveries.drop(app_id, component_id)
            return
        discovery = wish.discovery
        because = discovery.because or ("the rule only recommends" if discovery.action == "recommend" else "")
        try:
            if not because and not self._budgets.has_money_limit(self._registry.snapshot(app_id).definition.llm.budget):
                because = NO_MONEY_BUDGET
            if not await self._may_recompile(app_id, component_id, kind):
                self._discoveries.hold(wish, "waiting", TOO_SOON)
                return
            if not because and (held := self._what_holds(wish)) is not None:
                self._discoveries.hold(wish, *held)
                return
            reason = f"{discovery.reason}; waits for approval: {because}" if because else discovery.reason
            await self.start(
                app_id, component_id, actor="oracle", reason=reason, needs_approval=bool(because), wish=wish, kind=kind
            )
        except UhlpError as error:
            self._discoveries.hold(wish, "refused", error.message)

    def _what_holds(self, wish: Wish) -> tuple[HeldStatus, str] | None:
        """Why a compilation that nobody asked for by hand is not started now."""
        app_id, _component_id = wish.place
        balance = wish.expected.balance if wish.expected is not None else None
        if balance is not None and balance.is_worth_it is False and not wish.discovery.is_correction:
            return "not_worth_it", balance.describe()
        now, limit = self._clock.now(), self._config.now.limits.compilations_per_hour
        lately = [
            one for one in self._book.candidates() if now - one.created_at < _HOUR_S and not _waits_for_approval(one)
        ]
        if len(lately) >= limit:
            return "queued", f"{len(lately)} compilations were started within the hour, {limit} are allowed"
        budget = self._registry.snapshot(app_id).definition.llm.budget
        if (refusal := self._budgets.refusal(app_id, budget, purpose=CODER)) is not None:
            return "queued", refusal.message
        left = self._budgets.evolution_left_usd
        cost = wish.expected.cost.usd if wish.expected is not None else None
        if left is not None and cost is not None and cost > left:
            return "queued", f"it takes about {usd(cost)}, and evolution has {usd(left)} left for today (UTC)"
        return None

    async def _may_recompile(self, app_id: str, component_id: str, kind: Kind) -> bool:
        component = self._registry.snapshot(app_id).components.get(component_id)
        if component is None:
            return False
        spec_hash = component.spec_hash
        attempts = await self._store.attempts(app_id, component_id, spec_hash, kind)
        since, failures = attempts.last_failure_at, attempts.failures
        in_service = self._book.in_service(app_id, component_id)
        if in_service is not None:  # a handler that serves is given as long as one that has failed once
            since, failures = max(since or 0.0, in_service.entered_at), max(1, failures)
        if since is None:
            return True
        new = await self._samples.count_since(app_id, component_id, since)
        rejit = self._config.now.rejit
        return recompile_allowed(
            failures, self._clock.now() - since, new,
            key=f"{app_id}/{component_id}/{spec_hash}", t0_s=rejit.t0_s, t_max_s=rejit.t_max_s,
            n0=rejit.n0, n_max=rejit.n_max, f_max=rejit.f_max,
        )  # fmt: skip


def _waits_for_approval(candidate: Candidate) -> bool:
    """Whether it is a recommendation: discovered, and nobody has said yes."""
    return candidate.state is S.DISCOVERED and candidate.approval_required and candidate.approved_by is None
