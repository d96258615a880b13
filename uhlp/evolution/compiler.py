"""Compiler: takes a candidate from discovered to shadow, the long work before live traffic.

discovered ──proposer, up to 3 repair rounds──► synthesized ──► verified ──HELD-OUT replay──► shadow
    │ not a function, nobody can propose            │ policy, tests, TRAIN replay,  │ evidence against it, answers
    │                                               │ worse than the last handler   │ too little, slower
    ▼                                               ▼                               ▼
 rejected                                        rejected                        rejected

Code that tries to deceive its evaluation is quarantined at once, whatever it answers.

What could not be measured (the model is down, no sandbox is free) decides nothing: the work is postponed, and a
candidate whose HELD-OUT replay could not be judged is `waiting`. Few held-out samples are no reason to wait: shadow
costs nothing without traffic, and evidence grows there.
"""

import asyncio
import dataclasses
from collections.abc import Container, Sequence

import structlog

from uhlp.errors import ComponentNotFound, NotFound, StateConflict, Unavailable
from uhlp.evals.replay import Replayed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.compilability import Compilability
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.held_out import HeldOutReport, replay_held_out
from uhlp.evolution.live_evidence import LiveEvidence, short_hashes
from uhlp.evolution.measuring import Spending
from uhlp.evolution.observer import comparator_of
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.questions import Questions
from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import MeasurementFailed, Reference, ReferenceKind
from uhlp.evolution.regressions import Regressions
from uhlp.evolution.replacement_gate import ReplacementGate
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.tampering import TAMPERING, tampered
from uhlp.evolution.verification import DraftReport, Verifier, handler_of, handler_timeout_s
from uhlp.execution import Executor
from uhlp.optimization.proposer import Counterexample, Proposal, ProposalFailed
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import Sample, SampleStore
from uhlp.traffic.split import Split

log = structlog.get_logger(__name__)

S = CandidateState
_REPLAY_LIMIT = 2000
_MIN_SEEN_FOR_COVERAGE = 50
_WRONG_KEPT = 12
_FIRST_POSTPONEMENT_S = 10.0
_LONGEST_POSTPONEMENT_S = 600.0
BEFORE_TRAFFIC = frozenset({S.DISCOVERED, S.SYNTHESIZED, S.VERIFIED, S.WAITING})


class Compiler:
    """Works off a queue of candidate ids; several of its cycles may run side by side, each on its own candidate."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        governor: SafetyGovernor,
        drafting: Drafting,
        verifier: Verifier,
        promotion: Promotion,
        reference: Reference,
        questions: Questions,
        executor: Executor,
        samples: SampleStore,
        app_registry: ApplicationRegistry,
        config: EvolutionConfig,
    ) -> None:
        self._book = book
        self._store = store
        self._governor = governor
        self._drafting = drafting
        self._verifier = verifier
        self._promotion = promotion
        self._reference = reference
        self._questions = questions
        self._executor = executor
        self._samples = samples
        self._registry = app_registry
        self._config = config
        self._compilability = Compilability(book=book, reference=reference, noise=config.noise)
        self._regressions = Regressions(
            book=book, store=store, promotion=promotion, executor=executor, reference=reference, config=config
        )
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._queued: set[str] = set()

    def enqueue(self, candidate_id: str) -> None:
        """Work on this candidate as soon as a cycle is free; a candidate is queued or worked on once at a time."""
        if candidate_id not in self._queued:
            self._queued.add(candidate_id)
            self._queue.put_nowait(candidate_id)

    async def run_cycle(self) -> None:
        """Take one candidate as far as it can go now."""
        candidate_id = await self._queue.get()
        try:
            await self.compile(candidate_id)
        finally:
            self._queued.discard(candidate_id)

    async def compile(self, candidate_id: str) -> None:
        """Take `candidate_id` from the state it is in to shadow, waiting or an end; a restart resumes here.

        Returns where it stands when it is paused, waits for something, or was decided about by someone else.
        """
        candidate = self._book.candidate(candidate_id)
        try:
            if candidate.state is S.DISCOVERED and self._may_work_on(candidate):
                candidate = await self._synthesize(candidate)
            if candidate.state is S.SYNTHESIZED and self._may_work_on(candidate):
                candidate = await self._verify(candidate)
            if candidate.state in (S.VERIFIED, S.WAITING) and self._may_work_on(candidate):
                await self._replay_held_out(candidate)
        except (MeasurementFailed, Unavailable) as trouble:
            self._postpone(candidate_id, str(trouble))
        except (StateConflict, NotFound) as overtaken:  # a person's decision, a changed or removed definition
            log.info("compilation_overtaken", candidate=candidate_id, why=overtaken.message)

    def _may_work_on(self, candidate: Candidate) -> bool:
        is_held = candidate.paused or self._store.is_paused(candidate.app_id, candidate.component_id)
        return not is_held and self._book.now() >= candidate.measurements.get("retryAt", 0.0)

    def _postpone(self, candidate_id: str, why: str) -> None:
        """Try again later, each time after twice as long."""
        log.info("compilation_postponed", candidate=candidate_id, why=why)
        known = self._book.candidate(candidate_id).measurements
        times = known.get("postponed", 0) + 1
        wait_s = min(_LONGEST_POSTPONEMENT_S, _FIRST_POSTPONEMENT_S * 2 ** min(times - 1, 10))
        changed = {"postponed": times, "postponedBecause": why, "retryAt": self._book.now() + wait_s}
        self._book.grow(candidate_id, measurements={**known, **changed})

    # -- discovered ──► synthesized ----------------------------------------------------------------------------------

    async def _synthesize(self, candidate: Candidate) -> Candidate:
        if candidate.approval_required and candidate.approved_by is None:
            return candidate
        app, component = self._place(candidate)
        comparator = comparator_of(component)
        train = await self._recorded(candidate, "train")
        if len(train) < self._config.verify.min_train:
            return candidate
        spending = Spending(candidate.costs)
        try:
            refusal = await self._compilability.why_not(candidate, app, component, comparator, train, spending)
            if refusal is not None:
                cause, reason = refusal
                return await self._governor.reject(candidate.id, cause=cause, reason=reason)
            minimiser = self._regressions.minimiser(app, component, comparator, train, spending)
            lessons = await self._regressions.lessons(candidate, app, component, comparator, train, minimiser)
            drafted = await self._drafting.draft(
                candidate, app, component, train, comparator, lessons=lessons, minimiser=minimiser, spending=spending
            )
        except ProposalFailed as failure:
            if failure.retryable:
                raise MeasurementFailed(failure.reason) from failure
            return await self._governor.reject(candidate.id, cause="proposal", reason=failure.reason)
        finally:
            self._book.grow(candidate.id, costs=spending.costs)
        proposal, report, drafts = drafted.proposal, drafted.report, drafted.drafts
        in_service = self._book.in_service(candidate.app_id, candidate.component_id)
        if in_service is not None and report.code_sha == in_service.code_sha:
            reason = f"{proposal.proposer} wrote the code that is in service as v{in_service.version}"
            return await self._governor.reject(candidate.id, cause="no_better", reason=reason)
        inherited = lessons.previous.trained if lessons.previous is not None else frozenset[str]()
        trained = sorted(
            short_hashes([*drafted.shown]) | inherited
        )  # it was shown the last handler, and what that knew
        record = {
            "proposer": proposal.proposer,
            "guard": proposal.guard,
            "notes": proposal.notes,
            "tokensIn": proposal.tokens_in,
            "tokensOut": proposal.tokens_out,
            "costUsd": proposal.cost_usd,
            "trained": trained,
            "counterexamples": [_as_json(example) for example in drafted.counterexamples],
            "noise": self._book.candidate(candidate.id).measurements.get("noise"),
        }
        await self._promotion.keep_code(candidate, code=proposal.code, tests=proposal.tests, record=record)
        candidate = await self._book.decide(
            candidate.id, S.SYNTHESIZED, actor=GOVERNOR,
            reason=f"{proposal.proposer} wrote a handler in {len(drafts)} draft{'s' if len(drafts) > 1 else ''}: "
            f"{proposal.guard or 'no guard stated'}",
            code_sha=report.code_sha, drafts=drafts, proposer=proposal.proposer,
            trained_digest=digest_of(trained),
        )  # fmt: skip
        return await self._judge_draft(candidate, proposal.code, report)

    # -- synthesized ──► verified ------------------------------------------------------------------------------------

    async def _verify(self, candidate: Candidate) -> Candidate:
        """After a restart: examine the kept draft again."""
        app, component = self._place(candidate)
        kept = await self._promotion.code_of(candidate)
        if kept is None:
            return await self._governor.reject(candidate.id, cause="lost", reason="its code is no longer there")
        code, tests, record = kept
        proposal = Proposal(code=code, tests=tests, guard=str(record.get("guard", "")), proposer=candidate.proposer)
        train = await self._recorded(candidate, "train")
        comparator, spending = comparator_of(component), Spending(candidate.costs)
        minimiser = self._regressions.minimiser(app, component, comparator, train, spending)
        lessons = await self._regressions.lessons(candidate, app, component, comparator, train, minimiser)
        report = await self._verifier.examine(
            app, component, proposal, train, comparator,
            epsilon=component.definition.optimization.epsilon, spending=spending, regression_tests=lessons.tests,
        )  # fmt: skip
        self._book.grow(candidate.id, costs=spending.costs)
        return await self._judge_draft(candidate, code, report)

    async def _judge_draft(self, candidate: Candidate, code: str, report: DraftReport) -> Candidate:
        if report.tampering:
            return await self._governor.quarantine(candidate.id, cause=TAMPERING, reason=tampered(report.tampering))
        if report.stage is not None:
            self._keep_wrong(candidate.id, report.smallest_wrong(), report.upheld)
            return await self._governor.reject(candidate.id, cause=report.stage, reason=report.reason)
        app, component = self._place(candidate)
        spending = Spending(self._book.candidate(candidate.id).costs)
        worse = await self._regressions.refusal(candidate, code, app, component, comparator_of(component), spending)
        self._book.grow(candidate.id, costs=spending.costs)
        if worse is not None:
            self._keep_wrong(candidate.id, worse.wrong, worse.upheld)
            return await self._governor.reject(candidate.id, cause="regression", reason=worse.reason)
        assert report.train is not None  # noqa: S101  a passed draft has both
        assert report.tests is not None  # noqa: S101
        return await self._book.decide(
            candidate.id, S.VERIFIED, actor=GOVERNOR,
            reason=f"{report.tests.passed} tests pass; on TRAIN it answers {report.train.coverage:.0%}, "
            f"{len(report.wrong)} of {report.train.answered} wrong",
            evidence={"trainCoverage": report.train.coverage, "trainWrong": len(report.wrong)},
            measurements={**self._book.candidate(candidate.id).measurements, "trainCoverage": report.train.coverage},
        )  # fmt: skip

    # -- verified ──► shadow -----------------------------------------------------------------------------------------

    async def _replay_held_out(self, candidate: Candidate) -> None:
        app, component = self._place(candidate)
        kept = await self._promotion.code_of(candidate)
        if kept is None:
            await self._governor.reject(candidate.id, cause="lost", reason="its code is no longer there")
            return
        code, _tests, record = kept
        handler = handler_of(code)
        evidence = LiveEvidence.open(
            attempt=candidate.attempt,
            epsilon=component.definition.optimization.epsilon,
            config=self._config,
            trained=frozenset(record.get("trained", ())),
            decision_field=component.definition.optimization.decision_field,
            costs=candidate.costs,
        )
        held_out = await self._recorded(candidate, "held_out")
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
            duplicates_cap=self._config.duplicates_cap,
            concurrency=self._config.verify.concurrency,
        )
        self._book.grow(candidate.id, costs=evidence.spending.costs)
        if report.tampering:
            await self._governor.quarantine(candidate.id, cause=TAMPERING, reason=tampered(report.tampering))
            return
        if report.trouble is not None:
            await self._wait(candidate, report.trouble)
            return
        self._book.grow(candidate.id, mismatches=(), **evidence.progress())
        for comparison in report.wrong:
            self._governor.keep_mismatch(candidate.id, comparison)
        baseline_ms = report.baseline_p50_ms
        held_out_words = f"HELD-OUT replay of {evidence.figures.seen}: {evidence.account.describe()}"
        if evidence.account.verdict is Verdict.REJECT:
            await self._governor.reject(
                candidate.id, cause="held_out_replay", reason=held_out_words, evidence=evidence.summary()
            )
        elif (too_little := self._answers_too_little(candidate, evidence)) is not None:
            await self._governor.reject(candidate.id, cause="coverage", reason=too_little, evidence=evidence.summary())
        elif baseline_ms is not None and evidence.p50_ms is not None and evidence.p50_ms > baseline_ms:
            reason = f"slower than the model: p50 {evidence.p50_ms:.1f} ms against {baseline_ms:.1f} ms"
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
        gate = ReplacementGate(
            in_service=handler_of(kept[0]), guard=live.guard() if live is not None else None, executor=self._executor,
            reference=self._reference, app=app, component=component, comparator=comparator_of(component),
            timeout_s=handler_timeout_s(component), concurrency=self._config.verify.concurrency,
        )  # fmt: skip
        return await gate.refusal(report.results, report.samples, evidence)

    def _answers_too_little(self, candidate: Candidate, evidence: LiveEvidence) -> str | None:
        """Why its coverage of HELD-OUT shows that it does not pay; None when it does, or few samples were there."""
        needed, reached = self._config.verify.min_coverage, evidence.reachable_coverage
        if evidence.figures.seen < _MIN_SEEN_FOR_COVERAGE or reached >= needed:
            return None
        reason = f"answers {reached:.0%} of HELD-OUT itself, needs {needed:.0%} to pay"
        on_train = candidate.measurements.get("trainCoverage")
        if on_train is not None and on_train > 2 * needed + reached:
            reason += f"; of TRAIN it answers {on_train:.0%}: it knows its samples by heart"
        return reason

    def _keep_wrong(self, candidate_id: str, wrong: Sequence[Replayed], upheld: Container[str]) -> None:
        """Keep wrong answers to known inputs for people, and for the next attempt; upheld ones first."""
        for one in sorted(wrong, key=lambda one: one.input_hash not in upheld)[:_WRONG_KEPT]:
            reference: ReferenceKind = "majority" if one.input_hash in upheld else "single"
            self._governor.keep_mismatch(
                candidate_id,
                Comparison(
                    "replay", one.input_hash, one.input, "wrong", reference, one.expected, one.got, one.why,
                    has_answered=one.is_answer,
                ),
            )  # fmt: skip

    async def _wait(self, candidate: Candidate, why: str) -> None:
        """Nothing is wrong, but the replay could not be judged: start it again later."""
        if candidate.state is not S.WAITING:
            reason = f"HELD-OUT replay could not be judged: {why}"
            await self._book.decide(candidate.id, S.WAITING, actor=GOVERNOR, reason=reason)
        self._postpone(candidate.id, why)

    # -- what it works with ------------------------------------------------------------------------------------------

    async def _recorded(self, candidate: Candidate, split: Split) -> list[Sample]:
        """Model answers to this specification on one side of the split; what people said is right stands above them."""
        app, component = self._place(candidate)
        samples = await self._samples.samples(
            candidate.app_id, candidate.component_id, split=split, ok=True, handler="llm",
            spec_hash=candidate.spec_hash, limit=_REPLAY_LIMIT,
        )  # fmt: skip
        masked = Redaction(component.configuration.get("redact", ())).apply  # as the samples themselves are
        corrected = []
        for sample in samples:
            known = self._reference.known(app, component, sample.input_hash)
            corrected.append(sample if known is None else dataclasses.replace(sample, output=masked(known.expected)))
        return corrected

    def _place(self, candidate: Candidate) -> tuple[AppSnapshot, ComponentSnapshot]:
        """Raises NotFound or StateConflict when there is no such component any more, or it means something else."""
        app = self._registry.snapshot(candidate.app_id)
        component = app.components.get(candidate.component_id)
        if component is None:
            raise ComponentNotFound(f"{candidate.app_id} has no component {candidate.component_id} any more.")
        if component.spec_hash != candidate.spec_hash:
            raise StateConflict(f"{candidate.component_id} has changed its specification.")
        return app, component


def _as_json(example: Counterexample) -> dict[str, object]:
    return {"input": example.input, "expected": example.expected, "got": example.got}
