"""HeldOutStage: from verified to shadow, by replay of recorded answers that no proposer has seen."""

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.held_out import HeldOutReport, replay_held_out
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.observation import comparator_of
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.questions import Questions
from uhlp.evolution.recordings import Recordings
from uhlp.evolution.reference import Reference
from uhlp.evolution.replacement_gate import ReplacementGate
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.tampering import TAMPERING, tampered
from uhlp.evolution.verification import handler_of, handler_timeout_s
from uhlp.execution import Executor
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

S = CandidateState
_MIN_SEEN_FOR_COVERAGE = 50


class HeldOutStage:
    """Opens a candidate's evidence account with its first comparisons."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        governor: SafetyGovernor,
        promotion: Promotion,
        reference: Reference,
        questions: Questions,
        executor: Executor,
        recordings: Recordings,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._governor = governor
        self._promotion = promotion
        self._reference = reference
        self._questions = questions
        self._executor = executor
        self._recordings = recordings
        self._config = config

    async def replay(self, candidate: Candidate) -> str | None:
        """To shadow, or to an end; what it returns says why the replay says nothing yet."""
        app, component = self._recordings.place(candidate)
        kept = await self._promotion.code_of(candidate)
        if kept is None:
            await self._governor.reject(candidate.id, cause="lost", reason="its code is no longer in the repository")
            return None
        code, _tests, record = kept
        handler = handler_of(code)
        evidence = LiveEvidence.open(
            attempt=candidate.attempt,
            epsilon=component.definition.optimization.epsilon,
            config=self._config.now,
            trained=frozenset(record.get("trained", ())),
            decision_field=component.definition.optimization.decision_field,
            costs=candidate.costs,
        )
        held_out = await self._recordings.answers(candidate, "held_out")
        try:
            report = await replay_held_out(
                evidence,
                candidate_id=candidate.id,
                app=app,
                component=component,
                handler=handler,
                samples=held_out,
                comparator=comparator_of(component),
                executor=self._executor,
                reference=self._reference,
                questions=self._questions,
                timeout_s=handler_timeout_s(component),
                duplicates_cap=self._config.now.duplicates_cap,
                concurrency=self._config.now.verify.concurrency,
            )
        finally:  # what was asked has been paid, whatever comes of it
            self._book.grow(candidate.id, costs=evidence.spending.costs)
        if report.tampering:
            await self._governor.quarantine(candidate.id, cause=TAMPERING, reason=tampered(report.tampering))
            return None
        if report.trouble is not None:
            return report.trouble
        self._book.grow(candidate.id, mismatches=(), **evidence.progress())
        for comparison in report.wrong:
            self._governor.keep_mismatch(candidate.id, comparison)
        baseline_ms = report.baseline_p50_ms
        seen, proven = evidence.figures.seen, evidence.account.describe()
        held_out_words = f"of {seen} recorded calls that it never saw (HELD-OUT): {proven}"
        if evidence.account.verdict is Verdict.REJECT:
            await self._governor.reject(
                candidate.id, cause="held_out_replay", reason=held_out_words, evidence=evidence.summary()
            )
        elif (too_little := self._answers_too_little(candidate, evidence)) is not None:
            await self._governor.reject(candidate.id, cause="coverage", reason=too_little, evidence=evidence.summary())
        elif baseline_ms is not None and evidence.p50_ms is not None and evidence.p50_ms > baseline_ms:
            median = f"half of its answers take {evidence.p50_ms:.1f} ms or more, of the model's {baseline_ms:.1f} ms"
            reason = f"slower than the model: {median}"
            await self._governor.reject(candidate.id, cause="latency", reason=reason, evidence=evidence.summary())
        elif (no_better := await self._no_better(candidate, app, component, report, evidence)) is not None:
            await self._governor.reject(candidate.id, cause="no_better", reason=no_better, evidence=evidence.summary())
        else:
            candidate = await self._book.decide(
                candidate.id, S.SHADOW, actor=GOVERNOR, reason=held_out_words, evidence=evidence.summary(),
                checkpoint=self._governor.create_checkpoint(candidate.app_id, candidate.component_id),
            )  # fmt: skip
            self._governor.admit(candidate, handler, evidence)
            await self._governor.evaluate_candidate(candidate.id)
        return None

    async def _no_better(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        report: HeldOutReport,
        evidence: LiveEvidence,
    ) -> str | None:
        """Why it must not replace the handler in service; None when it may, or a model is in service."""
        in_service = self._book.in_service(candidate.app_id, candidate.component_id)
        kept = await self._promotion.code_of(in_service) if in_service is not None else None
        if in_service is None or kept is None:
            return None
        live = self._governor.evidence_of(in_service.id)
        guard = live.classes.guard() if live is not None else None
        gate = ReplacementGate(
            in_service=handler_of(kept[0]), guard=guard, executor=self._executor, reference=self._reference, app=app,
            component=component, comparator=comparator_of(component), timeout_s=handler_timeout_s(component),
            concurrency=self._config.now.verify.concurrency,
        )  # fmt: skip
        try:
            return await gate.refusal(report.results, report.samples, evidence)
        finally:
            self._book.grow(candidate.id, costs=evidence.spending.costs)

    def _answers_too_little(self, candidate: Candidate, evidence: LiveEvidence) -> str | None:
        """Why its coverage of HELD-OUT shows that it does not pay; None when it does, or few samples were there."""
        needed, reached = self._config.now.verify.min_coverage, evidence.reachable_coverage
        if evidence.figures.seen < _MIN_SEEN_FOR_COVERAGE or reached >= needed:
            return None
        reason = f"answers {reached:.0%} of HELD-OUT itself, needs {needed:.0%} to pay"
        on_train = candidate.measurements.get("trainCoverage")
        if on_train is not None and on_train > 2 * needed + reached:
            reason += f"; of TRAIN it answers {on_train:.0%}: it knows its samples by heart"
        return reason
