"""Stages: which stage the evidence gives a candidate now.

shadow ──epsilon proven──► canary 5 % ──► 25 % ──► 50 % ──► 100 % ──► promoted
   │ evidence against it      │ alarm, evidence against it                │ alarm
   ▼                          ▼                                           ▼
rejected                  rolled_back                                 rolled_back
"""

from typing import Any

from uhlp.clock import Clock
from uhlp.evolution.book import CandidateBook, Ruling
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.checkpoints import Checkpoints
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.endings import GOVERNOR, Endings, regressions_of
from uhlp.evolution.holds import Holds
from uhlp.evolution.ledger_anchors import LedgerAnchors
from uhlp.evolution.live_candidates import LiveCandidates
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.statistics import EvidenceAccount, Verdict
from uhlp.evolution.traffic_switch import REPLACED
from uhlp.keyed_locks import KeyedLocks
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
        checkpoints: Checkpoints,
        promotion: Promotion,
        anchors: LedgerAnchors,
        clock: Clock,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._live = live
        self._holds = holds
        self._endings = endings
        self._checkpoints = checkpoints
        self._promotion = promotion
        self._anchors = anchors
        self._clock = clock
        self._config = config
        self._admitting = KeyedLocks[str]()
        """By application: two candidates must not take its last canary place at once."""

    async def evaluate_shadow(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> None:
        """To canary, to an end, or nowhere yet."""
        account, figures = live.account, live.figures
        if account.verdict is Verdict.REJECT:
            await self._end(candidate, S.REJECTED, "evidence", _too_often_wrong(account))
        elif figures.seen >= _MIN_SEEN_FOR_COVERAGE and live.reachable_coverage < self._config.now.verify.min_coverage:
            reason = (
                f"it answers {live.reachable_coverage:.0%} of the requests itself and leaves the others to the model; "
                f"below {self._config.now.verify.min_coverage:.0%} it does not pay"
            )
            await self._end(candidate, S.REJECTED, "coverage", reason)
        elif account.verdict is Verdict.INCONCLUSIVE:
            await self.move(
                candidate,
                S.INCONCLUSIVE,
                f"neither good nor bad enough after {account.n} comparisons: {account.describe()}",
            )
        elif self._may_serve_and_check(candidate, live, definition):
            checked = f"the model checks {self._live.audit_share(candidate):.0%} of its answers"
            reason = f"{account.describe()}; by serve-and-check it answers all requests from now on, and {checked}"
            await self._admit_to_canary(candidate, reason, step=len(self._config.now.canary.weights) - 1)
        elif account.verdict is Verdict.ACCEPT:
            share = self._config.now.canary.weights[0]
            await self._admit_to_canary(candidate, f"{account.describe()}; {_answers(share)}", step=0)

    async def evaluate_serving(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> None:
        """Out on an alarm, to the next step, or on as it is."""
        account = live.account
        proven = account.verdict is Verdict.ACCEPT
        alarms = (("audit", live.audits, "audited answers are wrong"), ("crashes", live.crashes, "executions failed"))
        for cause, monitor, words in alarms:
            if monitor.alarm is not None:
                await self._end(candidate, S.ROLLED_BACK, cause, monitor.describe(words))
                return
        canary = live.canary if candidate.state is S.CANARY else None
        if account.verdict is Verdict.REJECT:
            await self._end(candidate, S.ROLLED_BACK, "evidence", _too_often_wrong(account))
        elif not proven and live.audits.failures >= definition.optimization.max_wrong_answers:
            reason = (
                f"{live.audits.failures} wrong answers were served before fewer than {account.epsilon:.3g} of all were "
                f"proven to be wrong; maxWrongAnswers is {definition.optimization.max_wrong_answers}"
            )
            await self._end(candidate, S.ROLLED_BACK, "max_wrong_answers", reason)
        elif account.verdict is Verdict.INCONCLUSIVE:
            reason = f"served, and neither good nor bad enough after {account.n} comparisons: {account.describe()}"
            await self._end(candidate, S.ROLLED_BACK, "inconclusive", reason)
        elif candidate.state is S.CANARY and self._checkpoints.has_changed(candidate):
            reason = "the handler it was compared with is not in service any more: its canary begins anew"
            await self._enter_canary(candidate, reason, step=0)
        elif canary is not None and canary.alarm is not None and not canary.has_mismatch:
            await self._end(candidate, S.ROLLED_BACK, f"share_{canary.alarm}", canary.describe())
        elif candidate.state is S.CANARY and proven and self._step_is_done(candidate, live):
            await self._next_step(candidate, live)
        else:
            self._live.switch(candidate)  # audit share and deadline follow traffic and latency

    async def promote(self, candidate: Candidate, *, reason: str, actor: str) -> Candidate:
        """Into full service as the component's next version, in the place of the handler that had it. The repository
        follows (`Promotion`)."""
        version = await self._promotion.next_version(candidate.app_id, candidate.component_id, candidate.kind)
        reason = f"{reason}; in service as {name_of(candidate, version)}"
        replaced = self._book.in_service(candidate.app_id, candidate.component_id, candidate.kind)
        if replaced is None:
            moved = await self.move(candidate, S.PROMOTED, reason, actor=actor, version=version)
        else:
            moved = await self._replace(replaced, candidate, reason, actor=actor, version=version)
        await self._promotion.reconcile(candidate.app_id, candidate.component_id)
        await self._anchors.anchor(candidate.app_id)
        return moved

    async def move(
        self, candidate: Candidate, to: CandidateState, reason: str, *, actor: str = GOVERNOR, **changes: Any
    ) -> Candidate:
        """Decide, then switch. Raises StateConflict when there is no such move."""
        live = self._live.evidence_of(candidate.id)
        self._live.keep(candidate.id)
        moved = await self._book.decide(
            candidate.id, to, actor=actor, reason=reason, evidence=live.summary() if live else None, **changes
        )
        self._begin(moved, is_anew="checkpoint" in changes)
        return moved

    def begin_arms(self, candidate: Candidate) -> None:
        """Compare the arms of a canary anew: nothing was kept of them, or routing did not keep its weight."""
        live = self._live.evidence_of(candidate.id)
        if live is not None and candidate.state is S.CANARY:
            weight = self._config.now.canary.share_at(candidate.canary_step)
            checkpoint = candidate.checkpoint if weight < 1 else None
            live.begin_canary(self._checkpoints.canary_tests(checkpoint) if checkpoint is not None else None)
            self._live.switch(candidate)

    def _begin(self, moved: Candidate, *, is_anew: bool) -> None:
        """The switch after a decision."""
        live = self._live.evidence_of(moved.id)
        if live is not None:
            live.step_executions = 0
        if is_anew and moved.state is S.CANARY:
            self.begin_arms(moved)
            self._live.keep(moved.id)
        else:
            self._live.switch(moved)

    async def _replace(
        self, replaced: Candidate, candidate: Candidate, reason: str, *, actor: str, version: int
    ) -> Candidate:
        """One handler takes the place of another: both decisions are written, or none."""
        for one in (replaced, candidate):
            self._live.keep(one.id)
        measured = {one.id: self._live.evidence_of(one.id) for one in (replaced, candidate)}
        evidence = {one: live.summary() if live is not None else None for one, live in measured.items()}
        because = f"replaced by {name_of(candidate, version)}, candidate {candidate.id}"
        lost = regressions_of(self._book.candidate(replaced.id), because)
        gone, moved = await self._book.decide_all(
            [
                Ruling(
                    replaced.id, S.SUPERSEDED, actor, because, evidence=evidence[replaced.id], regressions=lost,
                    changes={"cause": REPLACED},
                ),
                Ruling(
                    candidate.id, S.PROMOTED, actor, reason, evidence=evidence[candidate.id],
                    changes={"version": version},
                ),
            ]
        )  # fmt: skip
        self._begin(moved, is_anew=False)
        self._live.dismiss(gone)
        return moved

    async def _end(self, candidate: Candidate, to: CandidateState, cause: str, reason: str) -> None:
        await self._endings.end(candidate.id, to, cause=cause, reason=reason, actor=GOVERNOR)

    async def _admit_to_canary(self, candidate: Candidate, reason: str, *, step: int) -> None:
        async with self._admitting[candidate.app_id]:
            if self._holds.what_holds(candidate) is None:
                await self._enter_canary(candidate, reason, step=step)

    async def _enter_canary(self, candidate: Candidate, reason: str, *, step: int) -> None:
        checkpoint = self._checkpoints.create(candidate.app_id, candidate.component_id)
        await self.move(candidate, S.CANARY, reason, canary_step=step, checkpoint=checkpoint)

    def _step_is_done(self, candidate: Candidate, live: LiveEvidence) -> bool:
        canary = self._config.now.canary
        return (
            live.step_executions >= canary.min_executions
            and self._clock.now() - candidate.entered_at >= canary.min_step_s
            and self._holds.what_holds(candidate) is None
        )

    async def _next_step(self, candidate: Candidate, live: LiveEvidence) -> None:
        weights = self._config.now.canary.weights
        step = (candidate.canary_step or 0) + 1
        passed = f"{live.step_executions} executions without an alarm"
        if step < len(weights):
            if live.canary is not None:
                self._checkpoints.complete(live.canary, candidate.app_id, candidate.component_id)
            await self.move(candidate, S.CANARY, f"{passed}; {_answers(weights[step])}", canary_step=step)
        else:
            await self.promote(candidate, reason=f"{passed} while it answered all requests", actor=GOVERNOR)

    def _may_serve_and_check(self, candidate: Candidate, live: LiveEvidence, definition: ComponentDefinition) -> bool:
        return (
            candidate.trust == "serve-and-check"
            and self._book.in_service(candidate.app_id, candidate.component_id) is None  # it has proven more
            and definition.effective_effects == "none"
            and live.account.is_proven(_SERVE_AND_CHECK_FROM)
        )


def _answers(share: float) -> str:
    return f"answers {share:.0%} of the requests from now on"


def _too_often_wrong(account: EvidenceAccount) -> str:
    return f"it is wrong too often, {account.describe()}"


def name_of(candidate: Candidate, version: int | None) -> str:
    """What people call a candidate in full service."""
    return f"the prompt under stable (shortened {version} times)" if candidate.is_prompt else f"v{version}"
