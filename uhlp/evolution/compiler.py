"""Compiler: takes a candidate from discovered to shadow, the long work before live traffic.

discovered ──proposer, up to 3 repair rounds──► synthesized ──► verified ──HELD-OUT replay──► shadow
    │ not a function, nobody can propose            │ policy, tests, TRAIN replay   │ evidence against it
    ▼                                               ▼                               ▼
 rejected                                        rejected                        rejected
"""

import asyncio
import dataclasses

import structlog

from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Costs
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.held_out import replay_held_out
from uhlp.evolution.live_evidence import LiveEvidence, short_hashes
from uhlp.evolution.noise import measure_noise
from uhlp.evolution.observer import comparator_of
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import Reference
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
        """Take `candidate_id` from the state it is in to shadow, waiting or an end; a restart resumes here."""
        candidate = self._book.candidate(candidate_id)
        if candidate.state is S.DISCOVERED:
            candidate = await self._synthesize(candidate)
        if candidate.state is S.SYNTHESIZED:
            candidate = await self._verify(candidate)
        if candidate.state in (S.VERIFIED, S.WAITING):
            await self._replay_held_out(candidate)

    # -- discovered ──► synthesized ----------------------------------------------------------------------------------

    async def _synthesize(self, candidate: Candidate) -> Candidate:
        app, component = self._place(candidate)
        comparator = comparator_of(component)
        train = await self._recorded(candidate, "train")
        missing = self._config.verify.min_train - len(train)
        if missing > 0 or (candidate.approval_required and candidate.approved_by is None) or self._is_held(candidate):
            return candidate
        refusal = self._why_not(component, comparator) or await self._noise(app, component, train, comparator)
        if refusal is not None:
            cause, reason = refusal
            return await self._governor.reject(candidate.id, cause=cause, reason=reason)
        try:
            drafted = await self._drafting.draft(candidate, app, component, train, comparator)
        except ProposalFailed as failure:
            if failure.retryable:
                log.info("proposal_postponed", candidate=candidate.id, why=failure.reason)
                return candidate
            return await self._governor.reject(candidate.id, cause="proposal", reason=failure.reason)
        trained = sorted(short_hashes([sample.input_hash for sample in train]))
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
        self, app: AppSnapshot, component: ComponentSnapshot, train: list[Sample], comparator: Comparator
    ) -> tuple[str, str] | None:
        """A/A: a model that disagrees with itself is no function, and is not compiled."""
        noise = self._config.noise
        distinct = list({sample.input_hash: sample for sample in train}.values())[: noise.aa_samples]
        report = await measure_noise(self._reference, app, component, distinct, comparator)
        if report.proven_at_least > noise.max_self_disagreement:
            return "not_a_function", (
                f"the model disagreed with itself on {report.disagreed} of {report.n} repeated inputs "
                f"(at least {report.proven_at_least:.0%}, allowed {noise.max_self_disagreement:.0%}): not a function. "
                "Loosen the comparator, or compress the prompt instead."
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
        )
        for comparison in report.wrong:
            self._governor.keep_mismatch(candidate.id, comparison)
        self._book.grow(candidate.id, **evidence.progress())
        baseline_ms = report.baseline_p50_ms
        held_out_words = f"HELD-OUT replay of {evidence.figures.seen}: {evidence.account.describe()}"
        if evidence.account.verdict is Verdict.REJECT:
            await self._governor.reject(candidate.id, cause="held_out_replay", reason=held_out_words)
        elif baseline_ms is not None and evidence.p50_ms is not None and evidence.p50_ms > baseline_ms:
            reason = f"slower than the model: p50 {evidence.p50_ms:.1f} ms against {baseline_ms:.1f} ms"
            await self._governor.reject(candidate.id, cause="latency", reason=reason)
        else:
            candidate = await self._book.decide(
                candidate.id, S.SHADOW, actor=GOVERNOR, reason=held_out_words, evidence=evidence.summary(),
                checkpoint=self._governor.create_checkpoint(candidate.app_id, candidate.component_id),
            )  # fmt: skip
            self._governor.admit(candidate, handler, evidence)
            await self._governor.evaluate_candidate(candidate.id)

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
        app = self._registry.snapshot(candidate.app_id)
        return app, app.components[candidate.component_id]

    def _is_held(self, candidate: Candidate) -> bool:
        return candidate.paused or self._store.is_paused(candidate.app_id, candidate.component_id)


def _as_json(example: Counterexample) -> dict[str, object]:
    return {"input": example.input, "expected": example.expected, "got": example.got}
