"""Oversight: what people see of evolution and may do, the same for REST, CLI and panel (seed 002)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, StateConflict, ValidationFailed
from uhlp.evolution.adjudicator import Adjudicator
from uhlp.evolution.alert_watch import AlertWatch
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.compiler import Compiler
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.leadership import Leadership
from uhlp.evolution.ledger_anchors import LedgerAnchors, verified_ledger
from uhlp.evolution.money import Money
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.self_evolution_daemon import SelfEvolutionDaemon
from uhlp.evolution.statistics import EvidenceAccount, Verdict
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.webhooks import Webhook
from uhlp.evolution.why import explain
from uhlp.metrics.windows import Windows
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.traffic.samples import SampleStore

S = CandidateState


class Oversight:
    """The facade over evolution for everything that talks to people."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        anchors: LedgerAnchors,
        governor: SafetyGovernor,
        daemon: SelfEvolutionDaemon,
        compiler: Compiler,
        promotion: Promotion,
        oracle: OptimizationOracle,
        samples: SampleStore,
        money: Money,
        windows: Windows,
        app_registry: ApplicationRegistry,
        clock: Clock,
        config: EvolutionConfig,
        leadership: Leadership,
        alert_watch: AlertWatch,
        webhooks: Sequence[Webhook] = (),
    ) -> None:
        self._alert_watch = alert_watch
        self._webhooks = tuple(webhooks)
        self._leadership = leadership
        self._book = book
        self._store = store
        self._anchors = anchors
        self._governor = governor
        self._daemon = daemon
        self._compiler = compiler
        self._promotion = promotion
        self._oracle = oracle
        self._samples = samples
        self._money = money
        self._adjudicator = Adjudicator(
            samples=samples, book=book, store=store, governor=governor, app_registry=app_registry, clock=clock
        )
        self._windows = windows
        self._registry = app_registry
        self._clock = clock
        self._config = config

    # -- acting ------------------------------------------------------------------------------------------------------

    async def optimize(
        self, app_id: str, component_id: str, *, action: str, actor: str, reason: str, proposer: str = ""
    ) -> str:
        """Start a compilation by hand: it skips the rule, never verification. Returns the candidate's id."""
        if component_id not in self._registry.snapshot(app_id).components:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        if action != "jit":
            raise ValidationFailed(f"The action {action!r} is not offered; use `jit`.", details={"allowed": ["jit"]})
        if not self._oracle.proposers(proposer or None):
            known = [one.name for one in self._oracle.proposers()]
            raise ValidationFailed(f"There is no proposer {proposer!r}.", details={"allowed": known})
        candidate = await self._daemon.discover(
            app_id, component_id, actor=actor, reason=reason or "asked for by hand", proposer=proposer
        )
        return candidate.id

    async def act(self, candidate_id: str, action: str, *, actor: str, reason: str) -> dict[str, Any]:
        """approve, reject, pause, resume, rollback, promote-full, quarantine, clear-quarantine; each with a reason."""
        if not reason.strip():
            raise ValidationFailed("Give a reason: it goes into the ledger.", details={"path": "reason"})
        candidate = self._book.candidate(candidate_id)
        match action:
            case "approve":
                await self._approve(candidate, actor, reason)
            case "reject":
                if candidate.state is S.QUARANTINED:
                    raise StateConflict(f"Candidate {candidate_id} is quarantined; use clear-quarantine.")
                await self._governor.reject(candidate_id, cause="person", reason=reason, actor=actor)
            case "rollback":
                await self._governor.roll_back(candidate_id, cause="person", reason=reason, actor=actor)
            case "quarantine":
                await self._governor.quarantine(candidate_id, cause="person", reason=reason, actor=actor)
            case "clear-quarantine":
                await self._governor.clear_quarantine(candidate_id, actor=actor, reason=reason)
            case "pause" | "resume":
                if not (candidate.is_open or candidate.is_serving):
                    raise StateConflict(f"Candidate {candidate_id} is {candidate.state}: there is nothing to {action}.")
                if action == "resume":
                    await self._governor.resume(candidate_id, actor=actor, reason=reason)
                else:
                    await self._book.decide(candidate_id, actor=actor, reason=reason, paused=True)
            case "promote-full":
                await self._promote_full(candidate, actor, reason)
            case _:
                raise ValidationFailed(f"There is no action {action!r}.")
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)
        return await self.candidate(candidate_id)

    async def _approve(self, candidate: Candidate, actor: str, reason: str) -> None:
        if not (candidate.is_open and candidate.approval_required) or candidate.approved_by is not None:
            raise StateConflict(f"Candidate {candidate.id} does not wait for approval.")
        await self._book.decide(candidate.id, actor=actor, reason=reason, approved_by=actor)
        self._compiler.enqueue(candidate.id)

    async def _promote_full(self, candidate: Candidate, actor: str, reason: str) -> None:
        """Skip the remaining canary steps. It never skips the evidence."""
        live = self._governor.evidence_of(candidate.id)
        if candidate.state is not S.CANARY or live is None or live.account.verdict is not Verdict.ACCEPT:
            raise StateConflict(
                f"Candidate {candidate.id} is {candidate.state}; only a canary whose epsilon is proven can be promoted."
            )
        await self._governor.promote(candidate.id, reason=reason, actor=actor)

    async def adjudicate_sample(
        self, app_id: str, sample_id: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]:
        """A person says what is right for a recorded input; what follows from it is in the answer."""
        return await self._adjudicator.adjudicate_sample(
            app_id, sample_id, expected=expected, actor=actor, reason=reason
        )

    async def adjudicate_input(
        self, app_id: str, component_id: str, input_hash: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]:
        """The same for an open question or a lost comparison, whose sample may have rolled over."""
        return await self._adjudicator.adjudicate_input(
            app_id, component_id, input_hash, expected=expected, actor=actor, reason=reason
        )

    async def pause(
        self, *, actor: str, reason: str, app_id: str | None = None, component_id: str | None = None
    ) -> dict[str, Any]:
        """Pause evolution everywhere, of one application or of one component. Handlers in service go on serving."""
        await self._store.pause(actor=actor, reason=reason, app_id=app_id, component_id=component_id)
        return await self.overview()

    async def resume(
        self, *, actor: str, reason: str, app_id: str | None = None, component_id: str | None = None
    ) -> dict[str, Any]:
        """Lift the pause of exactly this scope."""
        await self._store.resume(actor=actor, reason=reason, app_id=app_id, component_id=component_id)
        return await self.overview()

    # -- seeing ------------------------------------------------------------------------------------------------------

    async def candidates(self, app_id: str | None = None, state: str | None = None) -> list[dict[str, Any]]:
        """Newest first, without timelines and code. ValidationFailed for a state that does not exist."""
        if state is not None and state not in set(S):
            raise ValidationFailed(f"There is no state {state!r}.", details={"allowed": [str(one) for one in S]})
        return [self._row(one) for one in self._book.candidates(app_id, state=state)]

    async def candidate(self, candidate_id: str) -> dict[str, Any]:
        """Everything a person needs to judge it: figures, timeline, drafts, mismatches side by side, code and tests."""
        one = self._book.candidate(candidate_id)
        entries = await self._store.entries(candidate_id=candidate_id, limit=1000)
        code = await self._promotion.code_of(one) if one.code_sha else None
        mismatches = []
        for mismatch in one.mismatches:
            value = await self._store.payload(mismatch.payload, one.app_id)
            mismatches.append({**asdict(mismatch), "case": value})
        return {
            **self._row(one),
            "timeline": [
                {
                    "seq": sealed.seq, "ts": sealed.entry.ts, "event": sealed.entry.event,
                    "from": sealed.entry.from_state, "to": sealed.entry.to_state, "actor": sealed.entry.actor,
                    "reason": sealed.entry.reason,
                    "evidence": dict(sealed.entry.evidence),
                }
                for sealed in entries
            ],
            "drafts": [asdict(draft) for draft in one.drafts],
            "mismatches": mismatches,
            "code": code[0] if code else None,
            "tests": code[1] if code else None,
            "checkpoint": asdict(one.checkpoint) if one.checkpoint else None,
            "breakEven": await self._money.break_even(one),
        }  # fmt: skip

    async def adjudications(self, app_id: str, component_id: str) -> dict[str, Any]:
        """What waits for a person, and what persons have said."""
        return self._adjudicator.listing(app_id, component_id)

    async def why(self, app_id: str, component_id: str) -> dict[str, Any]:
        """What is missing before this component runs as code, how many, by when."""
        if component_id not in self._registry.snapshot(app_id).components:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        told = await explain(
            app_id, component_id,
            book=self._book, store=self._store, governor=self._governor, oracle=self._oracle, samples=self._samples,
            windows=self._windows, app_registry=self._registry, clock=self._clock, config=self._config,
        )  # fmt: skip
        return {**told, "lines": [*told["lines"], *await self._money.lines(app_id, component_id)]}

    async def recommendations(self, app_id: str | None = None) -> list[dict[str, Any]]:
        """What rules ask for and a person may start, the one worth most first."""
        return await self._money.recommendations(app_id)

    async def usage(self, app_id: str) -> dict[str, Any]:
        """What models took, by component and purpose, today and in total."""
        return await self._money.usage(app_id)

    async def savings(self, app_id: str) -> dict[str, Any]:
        """What handlers saved, by component, today and in total."""
        return await self._money.savings(app_id)

    async def overview(self) -> dict[str, Any]:
        """The state of evolution as a whole."""
        states: dict[str, int] = {}
        for one in self._book.candidates():
            states[one.state] = states.get(one.state, 0) + 1
        seq, head = await self._store.head()
        return {
            "paused": self._store.is_paused(),
            "pauses": [{"appId": app_id, "componentId": component_id} for app_id, component_id in self._store.pauses()],
            "candidates": states,
            "budgets": self._money.budgets(),
            "ledger": {"seq": seq, "head": head},
            "problems": [asdict(problem) for problem in self._book.problems],
            "leadership": self.leadership(),
            "alerts": self._alert_watch.standing(),
            "webhooks": [webhook.status() for webhook in self._webhooks],
        }

    def leadership(self) -> dict[str, Any]:
        """Which server decides about candidates: {leads, leader, token, isShared, problem}."""
        return self._leadership.status()

    async def config(self) -> dict[str, Any]:
        """The governor's numbers in force."""
        return self._config.model_dump(mode="json")

    async def ledger(self, app_id: str | None = None, after: int = 0, limit: int = 100) -> list[dict[str, Any]]:
        """Entries after `after`, in order."""
        sealed = await self._store.entries(app_id, after=after, limit=limit)
        return [{"seq": one.seq, "hash": one.hash, **one.entry.to_dict()} for one in sealed]

    async def verify_ledger(self) -> dict[str, Any]:
        """Recompute the whole hash chain, and hold the candidates against it."""
        return await verified_ledger(self._store, self._anchors)

    def export_ledger(self) -> AsyncIterator[bytes]:
        """The whole ledger as lines that can be verified elsewhere (`ledger_export`)."""
        return self._store.export()

    def _row(self, one: Candidate) -> dict[str, Any]:
        live = self._governor.evidence_of(one.id)
        account = live.account if live else EvidenceAccount.from_dict(one.evidence) if one.evidence else None
        return {
            "candidateId": one.id,
            "appId": one.app_id,
            "componentId": one.component_id,
            "kind": one.kind,
            "proposer": one.proposer,
            "attempt": one.attempt,
            "state": one.state,
            "reason": one.reason,
            "cause": one.cause,
            "canaryStep": one.canary_step,
            "version": one.version,
            "trust": one.trust,
            "createdAt": one.created_at,
            "updatedAt": one.updated_at,
            "codeSha": one.code_sha,
            "n": one.evidence.get("n", 0),
            "k": one.evidence.get("k", 0),
            "coverage": one.figures.coverage,
            "agreement": one.figures.agreement,
            "figures": asdict(one.figures),
            "classes": one.measurements.get("classes", {}).get("counts"),
            "proven": account.proven if account else None,
            "evidence": account.describe() if account else None,
            "executions": one.executions,
            "canary": live.canary.summary() if live is not None and live.canary is not None else None,
            "costUsd": one.costs.usd,
            "tokensIn": one.costs.tokens_in,
            "tokensOut": one.costs.tokens_out,
            "p50Ms": one.measurements.get("p50Ms"),
            "paused": one.paused,
            "approvalRequired": one.approval_required,
            "approvedBy": one.approved_by,
            "drafts": [asdict(draft) for draft in one.drafts],
            "holds": self._governor.what_holds(one) if one.state in (S.SHADOW, S.CANARY) else None,
        }
