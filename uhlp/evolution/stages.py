"""Stages: which stage the evidence gives a candidate now.

shadow ──epsilon proven──► canary 5 % ──► 25 % ──► 50 % ──► 100 % ──► promoted
   │ evidence against it      │ alarm, evidence against it                │ alarm
   ▼                          ▼                                           ▼
rejected                  rolled_back                                 rolled_back
"""

import asyncio
from collections import defaultdict
from typing import Any

from uhlp.clock import Clock
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.endings import GOVERNOR, Endings
from uhlp.evolution.holds import Holds
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.live_candidates import LiveCandidates
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.statistics import Verdict
from uhlp.models.definition import ComponentDefinition

S = CandidateState
_MIN_SEEN_FOR_COVERAGE = 50
_SERVE_AND_CHECK_FROM = 0.10
"""Under `serve-and-check` a handler answers as soon as its loss is proven to be below this."""


class Stages:
    """Decides by evidence alone. A hold keeps a candidate where it is; alarms are heard all the same."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        live: LiveCandidates,
        holds: Holds,
        endings: Endings,
        promotion: Promotion,
        anchors: LedgerAnchors,
        clock: Clock,
        config: EvolutionConfig,
    ) -> None:
        self._book = book
        self._live = live
        self._holds = holds
        self._endings = endings
        self._promotion = promotion
        self._anchors = anchors
        self._clock = clock
        self._config = config
        self._admitting: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By application: two candidates must not take its last canary place at once."""

    async def evaluate_shadow(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> None:
        """To canary, to an end, or nowhere yet."""
        account, figures = live.account, live.figures
        if account.verdict is Verdict.REJECT:
            await self._end(candidate, S.REJECTED, "evidence", f"evidence against it: {account.describe()}")
        elif figures.seen >= _MIN_SEEN_FOR_COVERAGE and live.reachable_coverage < self._config.verify.min_coverage:
            reason = (
                f"answers {live.reachable_coverage:.0%} itself, needs {self._config.verify.min_coverage:.0%} to pay"
            )
            await self._end(candidate, S.REJECTED, "coverage", reason)
        elif account.verdict is Verdict.INCONCLUSIVE:
            await self.move(
                candidate, S.INCONCLUSIVE, f"no verdict after {account.n} comparisons: {account.describe()}"
            )
        elif self._may_serve_and_check(candidate, live, definition):
            checked = f"{self._live.audit_share(candidate):.0%} of its answers are checked"
            reason = f"serve-and-check, {account.describe()}; answers all, {checked}"
            await self._admit_to_canary(candidate, reason, step=len(self._config.canary.weights) - 1)
        elif account.verdict is Verdict.ACCEPT:
            share = self._config.canary.weights[0]
            await self._admit_to_canary(candidate, f"{account.describe()}; answers {share:.0%}", step=0)

    async def evaluate_serving(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> None:
        """Out on an alarm, to the next step, or on as it is."""
        account = live.account
        proven = account.verdict is Verdict.ACCEPT
        alarms = (("audit", live.audits, "audited answers are wrong"), ("crashes", live.crashes, "executions failed"))
        for cause, monitor, words in alarms:
            if monitor.alarm is not None:
                reason = f"{monitor.alarm} alarm: {monitor.failures} of {monitor.n} {words}"
                await self._end(candidate, S.ROLLED_BACK, cause, reason)
                return
        if account.verdict is Verdict.REJECT:
            await self._end(candidate, S.ROLLED_BACK, "evidence", f"evidence against it: {account.describe()}")
        elif not proven and live.audits.failures >= definition.optimization.max_wrong_answers:
            reason = f"{live.audits.failures} wrong answers served before epsilon was proven"
            await self._end(candidate, S.ROLLED_BACK, "max_wrong_answers", reason)
        elif account.verdict is Verdict.INCONCLUSIVE:
            reason = f"served and checked without a verdict for {account.n} comparisons: {account.describe()}"
            await self._end(candidate, S.ROLLED_BACK, "inconclusive", reason)
        elif candidate.state is S.CANARY and proven and self._step_is_done(candidate, live):
            await self._next_step(candidate, live)
        else:
            self._live.switch(candidate)  # audit share and deadline follow traffic and latency

    async def promote(self, candidate: Candidate, *, reason: str, actor: str) -> Candidate:
        """Into full service as the component's next version. The repository follows (`Promotion`)."""
        version = await self._promotion.next_version(candidate.app_id, candidate.component_id)
        reason = f"{reason}; in service as v{version}"
        moved = await self.move(candidate, S.PROMOTED, reason, actor=actor, version=version)
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)
        await self._anchors.anchor(candidate.app_id)
        return moved

    async def move(
        self, candidate: Candidate, to: CandidateState, reason: str, *, actor: str = GOVERNOR, **changes: Any
    ) -> Candidate:
        """Decide, then switch. Raises StateConflict when there is no such move."""
        live = self._live.evidence_of(candidate.id)
        moved = await self._book.decide(
            candidate.id, to, actor=actor, reason=reason, evidence=live.summary() if live else None, **changes
        )
        if live is not None:
            live.step_executions = 0
        self._live.switch(moved)
        return moved

    async def _end(self, candidate: Candidate, to: CandidateState, cause: str, reason: str) -> None:
        await self._endings.end(candidate.id, to, cause=cause, reason=reason, actor=GOVERNOR)

    async def _admit_to_canary(self, candidate: Candidate, reason: str, *, step: int) -> None:
        async with self._admitting[candidate.app_id]:
            if self._holds.what_holds(candidate) is None:
                await self.move(candidate, S.CANARY, reason, canary_step=step)

    def _step_is_done(self, candidate: Candidate, live: LiveEvidence) -> bool:
        canary = self._config.canary
        return (
            live.step_executions >= canary.min_executions
            and self._clock.now() - candidate.entered_at >= canary.min_step_s
            and self._holds.what_holds(candidate) is None
        )

    async def _next_step(self, candidate: Candidate, live: LiveEvidence) -> None:
        weights = self._config.canary.weights
        step = (candidate.canary_step or 0) + 1
        passed = f"{live.step_executions} executions without an alarm"
        if step < len(weights):
            await self.move(candidate, S.CANARY, f"{passed}; answers {weights[step]:.0%}", canary_step=step)
        else:
            await self.promote(candidate, reason=f"{passed} at 100 %", actor=GOVERNOR)

    def _may_serve_and_check(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> bool:
        return (
            candidate.trust == "serve-and-check"
            and definition.effective_effects == "none"
            and live.account.is_proven(_SERVE_AND_CHECK_FROM)
        )
