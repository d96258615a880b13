"""SafetyGovernor: lets a candidate into traffic step by step, by evidence, and takes it out again (seed 002).

    shadow ──epsilon proven──► canary 5 % ──► 25 % ──► 50 % ──► 100 % ──► promoted
       │ evidence against it      │ alarm, evidence against it                │ alarm
       ▼                          ▼                                           ▼
    rejected                  rolled_back                                 rolled_back

Every decision is written to the ledger before anything is switched. A rollback only changes what routing reads.
"""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import StateConflict
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Checkpoint, Mismatch
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.ledger import Event
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.records import RegressionCase
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.traffic_switch import TrafficSwitch
from uhlp.execution import ExecutionResult, HandlerImplementation
from uhlp.metrics.windows import Windows
from uhlp.models.definition import ComponentDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.split import split_of

log = structlog.get_logger(__name__)

S = CandidateState
GOVERNOR = "governor"

_HOUR_S = 3600.0
_MIN_SEEN_FOR_COVERAGE = 50
_SERVE_AND_CHECK_FROM = 0.10
"""Under `serve-and-check` a handler answers as soon as its loss is proven to be below this."""


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
        config: EvolutionConfig,
        always_shadow: bool = False,
    ) -> None:
        self._book = book
        self._store = store
        self._traffic = TrafficSwitch(
            rollouts=rollouts,
            app_registry=app_registry,
            windows=windows,
            canary=config.canary,
            always_shadow=always_shadow,
        )
        self._promotion = promotion
        self._anchors = anchors
        self._registry = app_registry
        self._windows = windows
        self._clock = clock
        self._config = config
        self._live: dict[str, LiveEvidence] = {}
        self._handlers: dict[str, HandlerImplementation] = {}
        self._deciding: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._admitting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By application: two candidates must not take its last canary place at once."""
        self._unanswered: Counter[str] = Counter()

    # -- into traffic ------------------------------------------------------------------------------------------------

    def create_checkpoint(self, app_id: str, component_id: str) -> Checkpoint:
        """Where a rollback of this component returns to: the revision now, and the baseline's statistics (seed 002)."""
        baseline = self._windows.window(app_id, component_id, _HOUR_S, handler="llm").as_dict()
        return Checkpoint(revision=self._registry.snapshot(app_id).revision, baseline=baseline)

    def admit(self, candidate: Candidate, handler: HandlerImplementation, evidence: LiveEvidence) -> None:
        """Take a verified candidate, or one that a restart interrupted, into live traffic as its state says."""
        self._live[candidate.id] = evidence
        self._handlers[candidate.id] = handler
        self._switch(candidate)

    def evidence_of(self, candidate_id: str) -> LiveEvidence | None:
        """What is measured of a candidate in live traffic; None for any other."""
        return self._live.get(candidate_id)

    # -- evidence comes in -------------------------------------------------------------------------------------------

    async def record(self, candidate_id: str, comparison: Comparison) -> None:
        """Enter one comparison and decide at once if it decides anything."""
        live = self._live.get(candidate_id)
        candidate = self._book.candidate(candidate_id)
        if live is None or self._component_of(candidate) is None:
            return
        live.measuring_errors = self._unanswered[candidate_id] = 0
        live.enter(comparison, duplicates_cap=self._config.duplicates_cap, is_serving=candidate.is_serving)
        if comparison.outcome == "wrong":
            self.keep_mismatch(candidate_id, comparison)
            self._keep(candidate_id, live)
            await self._book.save(candidate_id)  # a crash may cost clean comparisons, never a wrong one
        await self.evaluate_candidate(candidate_id)

    def keep_mismatch(self, candidate_id: str, comparison: Comparison) -> None:
        """Keep a lost comparison where people can look at it and the next attempt can learn from it."""
        candidate = self._book.candidate(candidate_id)
        component = self._component_of(candidate)
        redacted = component.configuration.get("redact", ()) if component is not None else ()
        digest, value = comparison.payload(Redaction(redacted))
        mismatch = Mismatch(
            digest, comparison.stage, comparison.reference, self._clock.now(), split_of(comparison.input_hash)
        )
        self._book.grow(candidate_id, payloads={digest: value}, mismatches=candidate.with_mismatch(mismatch).mismatches)

    async def record_execution(self, candidate_id: str, result: ExecutionResult, *, is_live: bool) -> None:
        """Count one input that was put to the handler, in shadow or (`is_live`) for a user; failures raise alarms."""
        live = self._live.get(candidate_id)
        if live is None:
            return
        has_failed = result.outcome == "failed"
        live.see(latency_ms=result.latency_ms if result.outcome == "ok" else None)
        live.executions += is_live
        is_serving = self._book.candidate(candidate_id).is_serving
        if result.outcome != "deoptimize":
            live.step_executions += is_live
            if is_serving:
                live.crashes.observe(1.0 if has_failed else 0.0)
        if is_serving and has_failed:
            self._keep(candidate_id, live)
            await self._book.save(candidate_id)
            await self.evaluate_candidate(candidate_id)

    def _keep(self, candidate_id: str, live: LiveEvidence) -> None:
        """Let the book know what has been measured; with every comparison, decision and cycle, not every request."""
        self._book.grow(candidate_id, **live.progress())

    def keep_all(self) -> None:
        """`_keep` for every candidate in live traffic: the server ends."""
        for candidate_id, live in self._live.items():
            self._keep(candidate_id, live)

    async def record_measuring_error(self, candidate_id: str, why: str) -> None:
        """An error of measuring is no score; several in a row pause the candidate."""
        self._unanswered[candidate_id] += 1
        async with self._deciding[candidate_id]:
            live = self._live.get(candidate_id)
            if live is None or self._book.candidate(candidate_id).paused:
                return
            live.measuring_errors += 1
            if live.measuring_errors >= self._config.measuring_errors_in_a_row:
                reason = f"{live.measuring_errors} errors of measuring in a row, the last: {why}"
                live.measuring_errors = 0
                await self._book.decide(candidate_id, actor=GOVERNOR, reason=reason, paused=True)

    def unanswered_checks(self, candidate_id: str) -> int:
        """How many of this candidate's last comparisons in a row nobody could be asked for, also while it is paused."""
        return self._unanswered[candidate_id]

    # -- decisions ---------------------------------------------------------------------------------------------------

    async def evaluate_candidate(self, candidate_id: str) -> None:
        """Decide what the evidence allows now (seed 002). Alarms count in every live state, also while paused."""
        async with self._deciding[candidate_id]:
            live = self._live.get(candidate_id)
            candidate = self._book.candidate(candidate_id)
            component = self._component_of(candidate)
            if live is None or component is None or component.spec_hash != candidate.spec_hash:
                return  # gone or changed: routing does not use it any more, and the daemon voids it
            self._keep(candidate_id, live)
            try:
                if candidate.state is S.SHADOW:
                    await self._evaluate_shadow(candidate, live, component.definition)
                elif candidate.is_serving:
                    await self._evaluate_serving(candidate, live, component.definition)
            except StateConflict as conflict:  # a person's decision came first; it stands
                log.info("decision_overtaken", candidate=candidate_id, why=conflict.message)

    async def _evaluate_shadow(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> None:
        account, figures = live.account, live.figures
        if account.verdict is Verdict.REJECT:
            await self.reject(candidate.id, cause="evidence", reason=f"evidence against it: {account.describe()}")
        elif figures.seen >= _MIN_SEEN_FOR_COVERAGE and live.reachable_coverage < self._config.verify.min_coverage:
            reason = (
                f"answers {live.reachable_coverage:.0%} itself, needs {self._config.verify.min_coverage:.0%} to pay"
            )
            await self.reject(candidate.id, cause="coverage", reason=reason)
        elif account.verdict is Verdict.INCONCLUSIVE:
            await self._move(
                candidate, S.INCONCLUSIVE, f"no verdict after {account.n} comparisons: {account.describe()}"
            )
        elif self._may_serve_and_check(candidate, live, definition):
            checked = f"{self._traffic.audit_share(candidate, live):.0%} of its answers are checked"
            reason = f"serve-and-check, {account.describe()}; answers all, {checked}"
            await self._admit_to_canary(candidate, reason, step=len(self._config.canary.weights) - 1)
        elif account.verdict is Verdict.ACCEPT:
            share = self._config.canary.weights[0]
            await self._admit_to_canary(candidate, f"{account.describe()}; answers {share:.0%}", step=0)

    async def _admit_to_canary(self, candidate: Candidate, reason: str, *, step: int) -> None:
        async with self._admitting[candidate.app_id]:
            if self.what_holds(candidate) is None:
                await self._move(candidate, S.CANARY, reason, canary_step=step)

    async def _evaluate_serving(
        self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition
    ) -> None:
        account = live.account
        proven = account.verdict is Verdict.ACCEPT
        alarms = (("audit", live.audits, "audited answers are wrong"), ("crashes", live.crashes, "executions failed"))
        for cause, monitor, words in alarms:
            if monitor.alarm is not None:
                reason = f"{monitor.alarm} alarm: {monitor.failures} of {monitor.n} {words}"
                await self.roll_back(candidate.id, cause=cause, reason=reason)
                return
        if account.verdict is Verdict.REJECT:
            await self.roll_back(candidate.id, cause="evidence", reason=f"evidence against it: {account.describe()}")
        elif not proven and live.audits.failures >= definition.optimization.max_wrong_answers:
            reason = f"{live.audits.failures} wrong answers served before epsilon was proven"
            await self.roll_back(candidate.id, cause="max_wrong_answers", reason=reason)
        elif account.verdict is Verdict.INCONCLUSIVE:
            reason = f"served and checked without a verdict for {account.n} comparisons: {account.describe()}"
            await self.roll_back(candidate.id, cause="inconclusive", reason=reason)
        elif candidate.state is S.CANARY and proven and self._step_is_done(candidate, live):
            await self._next_step(candidate)
        else:
            self._switch(candidate)  # audit share and deadline follow traffic and latency

    def _step_is_done(self, candidate: Candidate, live: LiveEvidence) -> bool:
        canary = self._config.canary
        return (
            live.step_executions >= canary.min_executions
            and self._clock.now() - candidate.entered_at >= canary.min_step_s
            and self.what_holds(candidate) is None
        )

    async def _next_step(self, candidate: Candidate) -> None:
        weights = self._config.canary.weights
        step = (candidate.canary_step or 0) + 1
        passed = f"{self._live[candidate.id].step_executions} executions without an alarm"
        if step < len(weights):
            await self._move(candidate, S.CANARY, f"{passed}; answers {weights[step]:.0%}", canary_step=step)
        else:
            await self.promote(candidate.id, reason=f"{passed} at 100 %")

    async def promote(self, candidate_id: str, *, reason: str, actor: str = GOVERNOR) -> Candidate:
        """Put a canary into full service as the component's next version. The repository follows (`Promotion`)."""
        candidate = self._book.candidate(candidate_id)
        version = await self._promotion.next_version(candidate.app_id, candidate.component_id)
        reason = f"{reason}; in service as v{version}"
        moved = await self._move(candidate, S.PROMOTED, reason, actor=actor, version=version)
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)
        await self._anchors.anchor(candidate.app_id)
        return moved

    def _may_serve_and_check(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> bool:
        return (
            candidate.trust == "serve-and-check"
            and definition.effective_effects == "none"
            and live.account.is_proven(_SERVE_AND_CHECK_FROM)
        )

    def what_holds(self, candidate: Candidate) -> str | None:
        """Why a candidate that has earned the next stage does not enter it; None when nothing holds it."""
        if self._is_held(candidate):
            return "paused"
        if candidate.approval_required and candidate.approved_by is None:
            return "waits for approval"
        live = self._live.get(candidate.id)
        if live is not None and live.unasked:
            return f"{len(live.unasked)} disagreements with the model wait for the reference"
        if (frozen := self.frozen(candidate.app_id)) is not None:
            return frozen
        canaries = self._book.candidates(candidate.app_id, state=S.CANARY) if candidate.state is S.SHADOW else []
        if len(canaries) >= self._config.limits.canaries_per_application:
            return f"waits: {canaries[0].component_id} has the application's canary"
        return None

    def frozen(self, app_id: str) -> str | None:
        """Why no candidate of this application goes on for now: too many rollbacks; None when it is not frozen."""
        recent = [
            one
            for one in self._book.candidates(app_id)
            if (one.state is S.ROLLED_BACK or (one.state is S.QUARANTINED and one.canary_step is not None))
            and self._clock.now() - one.entered_at < _HOUR_S
        ]
        if len(recent) < self._config.freeze_rollbacks_per_hour:
            return None
        return f"frozen: {len(recent)} rollbacks in the last hour"

    def _component_of(self, candidate: Candidate) -> ComponentSnapshot | None:
        """None when application or component are out of service."""
        if candidate.app_id not in self._registry.app_ids():
            return None
        return self._registry.snapshot(candidate.app_id).components.get(candidate.component_id)

    def _is_held(self, candidate: Candidate) -> bool:
        return candidate.paused or self._store.is_paused(candidate.app_id, candidate.component_id)

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
        return await self._end(candidate_id, S.REJECTED, cause=cause, reason=reason, actor=actor, evidence=evidence)

    async def roll_back(self, candidate_id: str, *, cause: str, reason: str, actor: str = GOVERNOR) -> Candidate:
        """Give the component back to the model at once. Raises StateConflict when the candidate does not serve."""
        return await self._end(candidate_id, S.ROLLED_BACK, cause=cause, reason=reason, actor=actor)

    async def supersede(self, candidate_id: str, *, reason: str) -> Candidate:
        """Its specification has changed: what it proved is void."""
        return await self._end(candidate_id, S.SUPERSEDED, cause="superseded", reason=reason, actor=GOVERNOR)

    async def quarantine(self, candidate_id: str, *, cause: str, reason: str, actor: str = GOVERNOR) -> Candidate:
        """Stay on the model until specification, model or coder change, or a person clears it."""
        return await self._end(candidate_id, S.QUARANTINED, cause=cause, reason=reason, actor=actor)

    async def clear_quarantine(self, candidate_id: str, *, actor: str, reason: str) -> Candidate:
        """Let the component be compiled again: the candidate stays refused, and one failure is forgiven."""
        candidate = self._book.candidate(candidate_id)
        if candidate.state is not S.QUARANTINED:
            raise StateConflict(f"Candidate {candidate_id} is {candidate.state}, not quarantined.")
        await self._book.decide(candidate_id, S.REJECTED, actor=actor, reason=reason)
        return await self._book.decide(candidate_id, actor=actor, reason=reason, event=Event.FORGIVEN)

    async def _end(
        self,
        candidate_id: str,
        to: CandidateState,
        *,
        cause: str,
        reason: str,
        actor: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> Candidate:
        live = self._live.get(candidate_id)
        if live is not None:
            self._keep(candidate_id, live)
        candidate = self._book.candidate(candidate_id)
        regressions = () if to is S.SUPERSEDED else self._regressions(candidate, reason)
        try:
            candidate = await self._book.decide(
                candidate_id, to, actor=actor, reason=reason, cause=_slug(cause),
                evidence=live.summary() if live else evidence, regressions=regressions,
            )  # fmt: skip
        except StateConflict:
            raise
        except Exception:  # a ledger that cannot be written must not keep a bad handler in service
            self._traffic.take_out(replace(candidate, state=to))
            raise
        self._switch(candidate)
        self._live.pop(candidate_id, None)
        self._handlers.pop(candidate_id, None)
        if actor == GOVERNOR and to is not S.SUPERSEDED:
            candidate = await self._quarantine_the_hopeless(candidate)
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)
        if to is S.ROLLED_BACK:
            await self._anchors.anchor(candidate.app_id)
        return candidate

    async def _quarantine_the_hopeless(self, candidate: Candidate) -> Candidate:
        """After too many failures, or the same one again and again, no clock tries this specification once more."""
        attempts = await self._store.attempts(candidate.app_id, candidate.component_id, candidate.spec_hash)
        if attempts.failures >= self._config.rejit.f_max:
            reason = f"{attempts.failures} candidates failed; the last: {candidate.reason}"
        elif attempts.same_cause_in_a_row() >= self._config.same_reason_quarantine:
            reason = f"failed {attempts.same_cause_in_a_row()} times in a row alike; the last: {candidate.reason}"
        else:
            return candidate
        return await self._book.decide(candidate.id, S.QUARANTINED, actor=GOVERNOR, reason=reason)

    async def _move(
        self, candidate: Candidate, to: CandidateState, reason: str, *, actor: str = GOVERNOR, **changes: Any
    ) -> Candidate:
        live = self._live[candidate.id]
        moved = await self._book.decide(
            candidate.id, to, actor=actor, reason=reason, evidence=live.summary(), **changes
        )
        live.step_executions = 0
        self._switch(moved)
        return moved

    def _regressions(self, candidate: Candidate, reason: str) -> tuple[RegressionCase, ...]:
        """What it got wrong; the payloads are kept already, a case is a pointer and a split."""
        return tuple(
            RegressionCase(
                app_id=candidate.app_id,
                component_id=candidate.component_id,
                spec_hash=candidate.spec_hash,
                payload=mismatch.payload,
                split=mismatch.split,
                candidate_id=candidate.id,
                reason=reason[:200],
                added_at=mismatch.ts,
            )
            for mismatch in candidate.mismatches
        )

    # -- the switch --------------------------------------------------------------------------------------------------

    def _switch(self, candidate: Candidate) -> None:
        """Make the rollout table say what the candidate's state says."""
        if candidate.state in (S.SHADOW, S.CANARY, S.PROMOTED):
            self._traffic.put(candidate, self._handlers[candidate.id], self._live[candidate.id])
        else:
            self._traffic.take_out(candidate)


def _slug(cause: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", cause.lower()).strip("_")
