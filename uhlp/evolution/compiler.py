"""Compiler: takes a candidate from discovered to shadow, the long work before live traffic.

discovered ──proposer, up to 3 repair rounds──► synthesized ──► verified ──HELD-OUT replay──► shadow
    │ not a function, nobody can propose            │ policy, tests, TRAIN replay   │ evidence against it
    ▼                                               ▼                               ▼
 rejected                                        rejected                        rejected

What could not be measured (the model is down, no sandbox is free) decides nothing: the work is postponed, and a
candidate whose HELD-OUT replay could not be judged is `waiting`. Few held-out samples are no reason to wait: shadow
costs nothing without traffic, and evidence grows there.
"""

import asyncio
import dataclasses

import structlog

from uhlp.errors import ComponentNotFound, NotFound, StateConflict, Unavailable
from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Costs
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.held_out import replay_held_out
from uhlp.evolution.live_evidence import LiveEvidence, short_hashes
from uhlp.evolution.noise import NoiseReport, measure_noise
from uhlp.evolution.observer import comparator_of
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import MeasurementFailed, Reference
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.verification import DraftReport, Verifier, handler_of
from uhlp.execution import Executor
from uhlp.models.definition import HandlerType
from uhlp.optimization.proposer import Counterexample, Proposal, ProposalFailed
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample, SampleStore
from uhlp.traffic.split import Split

log = structlog.get_logger(__name__)

S = CandidateState
_REPLAY_LIMIT = 2000
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
        self._executor = executor
        self._samples = samples
        self._registry = app_registry
        self._config = config
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
        refusal = self._why_not(component, comparator)
        refusal = refusal or await self._noise(candidate, app, component, train, comparator)
        if refusal is not None:
            cause, reason = refusal
            return await self._governor.reject(candidate.id, cause=cause, reason=reason)
        try:
            drafted = await self._drafting.draft(candidate, app, component, train, comparator)
        except ProposalFailed as failure:
            if failure.retryable:
                raise MeasurementFailed(failure.reason) from failure
            return await self._governor.reject(candidate.id, cause="proposal", reason=failure.reason)
        trained = sorted(short_hashes([*(sample.input_hash for sample in train), *drafted.shown]))
        proposal, report, drafts = drafted.proposal, drafted.report, drafted.drafts
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
        self._book.grow(candidate.id, costs=Costs(proposal.tokens_in, proposal.tokens_out, proposal.cost_usd))
        candidate = await self._book.decide(
            candidate.id, S.SYNTHESIZED, actor=GOVERNOR,
            reason=f"{proposal.proposer} wrote a handler in {len(drafts)} draft{'s' if len(drafts) > 1 else ''}: "
            f"{proposal.guard or 'no guard stated'}",
            code_sha=report.code_sha, drafts=drafts, proposer=proposal.proposer,
            trained_digest=digest_of(trained),
        )  # fmt: skip
        return await self._judge_draft(candidate, report)

    def _why_not(self, component: ComponentSnapshot, comparator: Comparator) -> tuple[str, str] | None:
        """Why this component must not be compiled, whatever its traffic."""
        definition = component.definition
        if definition.handler_type is not HandlerType.LLM or component.prompt_artifact is None:
            return "not_llm", "only a component that a model runs can be compiled"
        if comparator.not_comparable_fields:
            fields = ", ".join(comparator.not_comparable_fields)
            return "not_comparable", f"free text in {fields}: no comparator can hold a handler to it without a judge"
        if definition.effective_effects != "none":
            return "effects", f"its effects are {definition.effective_effects}: running it twice to compare is not safe"
        return None

    async def _noise(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        train: list[Sample],
        comparator: Comparator,
    ) -> tuple[str, str] | None:
        """A/A: a model that disagrees with itself is no function, and is not compiled. Measured once a candidate."""
        noise = self._config.noise
        known = candidate.measurements.get("noise")
        if known is not None:
            report = NoiseReport(**known)
        else:
            by_model = {s.input_hash: s for s in train if not self._reference.golden(component, s.input)[0]}
            live = [sample for sample in by_model.values() if sample.source == "live"]
            distinct = (live or list(by_model.values()))[: noise.aa_samples]
            report = await measure_noise(self._reference, app, component, distinct, comparator)
            if report.unmeasured > report.n:
                raise MeasurementFailed(f"the model could not be asked again: {report.trouble}")
            self._book.grow(candidate.id, measurements={**candidate.measurements, "noise": dataclasses.asdict(report)})
        if report.proven_at_least > noise.max_self_disagreement:
            figures = f"at least {report.proven_at_least:.0%}, allowed {noise.max_self_disagreement:.0%}"
            if all(sample.source == "import" for sample in train):
                return "not_a_function", (
                    f"the model answered {report.disagreed} of {report.n} inputs otherwise than the imported log "
                    f"({figures}): it is not the function that the log shows. Import a log of this model."
                )
            return "not_a_function", (
                f"the model disagreed with itself on {report.disagreed} of {report.n} repeated inputs ({figures}): "
                "not a function. Loosen the comparator, or leave it to the model."
            )
        return None

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
        report = await self._verifier.examine(
            app, component, proposal, train, comparator_of(component),
            epsilon=component.definition.optimization.epsilon,
        )  # fmt: skip
        return await self._judge_draft(candidate, report)

    async def _judge_draft(self, candidate: Candidate, report: DraftReport) -> Candidate:
        if report.stage is not None:
            return await self._governor.reject(candidate.id, cause=report.stage, reason=report.reason)
        assert report.train is not None  # noqa: S101  a passed draft has both
        assert report.tests is not None  # noqa: S101
        return await self._book.decide(
            candidate.id, S.VERIFIED, actor=GOVERNOR,
            reason=f"{report.tests.passed} tests pass; on TRAIN it answers {report.train.coverage:.0%}, "
            f"{len(report.wrong)} of {report.train.answered} wrong",
            evidence={"trainCoverage": report.train.coverage, "trainWrong": len(report.wrong)},
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
        )
        held_out = await self._recorded(candidate, "held_out")
        report = await replay_held_out(
            evidence,
            app=app,
            component=component,
            handler=handler,
            samples=held_out,
            comparator=comparator_of(component),
            executor=self._executor,
            reference=self._reference,
            timeout_s=self._verifier.handler_timeout_s(component),
            duplicates_cap=self._config.duplicates_cap,
            concurrency=self._config.verify.concurrency,
        )
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
        elif baseline_ms is not None and evidence.p50_ms is not None and evidence.p50_ms > baseline_ms:
            reason = f"slower than the model: p50 {evidence.p50_ms:.1f} ms against {baseline_ms:.1f} ms"
            await self._governor.reject(candidate.id, cause="latency", reason=reason, evidence=evidence.summary())
        else:
            candidate = await self._book.decide(
                candidate.id, S.SHADOW, actor=GOVERNOR, reason=held_out_words, evidence=evidence.summary(),
                checkpoint=self._governor.create_checkpoint(candidate.app_id, candidate.component_id),
            )  # fmt: skip
            self._governor.admit(candidate, handler, evidence)
            await self._governor.evaluate_candidate(candidate.id)

    async def _wait(self, candidate: Candidate, why: str) -> None:
        """Nothing is wrong, but the replay could not be judged: start it again later."""
        if candidate.state is not S.WAITING:
            reason = f"HELD-OUT replay could not be judged: {why}"
            await self._book.decide(candidate.id, S.WAITING, actor=GOVERNOR, reason=reason)
        self._postpone(candidate.id, why)

    # -- what it works with ------------------------------------------------------------------------------------------

    async def _recorded(self, candidate: Candidate, split: Split) -> list[Sample]:
        """Model answers to this specification on one side of the split; the owner's golden answers stand above them."""
        _app, component = self._place(candidate)
        samples = await self._samples.samples(
            candidate.app_id, candidate.component_id, split=split, ok=True, handler="llm",
            spec_hash=candidate.spec_hash, limit=_REPLAY_LIMIT,
        )  # fmt: skip
        corrected = []
        for sample in samples:
            has_golden, expected = self._reference.golden(component, sample.input)
            corrected.append(dataclasses.replace(sample, output=expected) if has_golden else sample)
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
