"""Drafting: one candidate's proposer, its drafts, and up to `repair_rounds` rounds of showing it what went wrong."""

import dataclasses
from collections.abc import Awaitable, Callable

import structlog

from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, Draft
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.measuring import Spending
from uhlp.evolution.promotion import candidate_ref
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.verification import DraftReport, Verifier
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.optimization.proposer import Counterexample, Proposal, ProposalFailed, ProposalTask, Proposer, TrainSample
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Drafted:
    """The best draft with its report, every draft's fate, and the counterexamples the proposer was shown.

    `proposal` carries the cost of all rounds. `shown` are the hashes of inputs beside `train` that the proposer saw.
    """

    proposal: Proposal
    report: DraftReport
    drafts: tuple[Draft, ...]
    counterexamples: tuple[Counterexample, ...]
    shown: frozenset[str] = frozenset()


class Drafting:
    """Asks proposers for handlers; TRAIN samples only."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        oracle: OptimizationOracle,
        verifier: Verifier,
        config: EvolutionConfig,
    ) -> None:
        self._book = book
        self._store = store
        self._oracle = oracle
        self._verifier = verifier
        self._config = config

    async def draft(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        train: list[Sample],
        comparator: Comparator,
        *,
        spending: Spending,
    ) -> Drafted:
        """Propose, examine, show what failed, again; stops at a draft without fault.

        Raises ProposalFailed; MeasurementFailed and Unavailable when a draft could not be run.
        """
        task, shown = await self._write_task(candidate, app, component, train, comparator)
        proposer, proposal = await self._first_proposal(task, candidate.proposer or None)
        barred = (await self._store.attempts(candidate.app_id, candidate.component_id, candidate.spec_hash)).barred
        epsilon = component.definition.optimization.epsilon

        async def examine(draft: Proposal) -> DraftReport:
            report = await self._verifier.examine(
                app, component, draft, train, comparator, epsilon=epsilon, spending=spending
            )
            if report.has_passed and report.code_sha in barred:
                report.stage, report.reason = "barred", "the same code was refused or rolled back before"
            return report

        refined = await refine(proposer, task, proposal, examine, repair_rounds=self._config.verify.repair_rounds)
        return dataclasses.replace(refined, shown=shown)

    async def _first_proposal(self, task: ProposalTask, wanted: str | None) -> tuple[Proposer, Proposal]:
        """From the first proposer that has one; the cheapest is asked first. ProposalFailed names every reason."""
        reasons: list[str] = []
        retryable = False
        for proposer in self._oracle.proposers(wanted):
            reason = proposer.applies(task)
            if reason is None:
                try:
                    return proposer, await proposer.propose(task)
                except ProposalFailed as failure:
                    reason, retryable = failure.reason, retryable or failure.retryable
            reasons.append(f"{proposer.name}: {reason}")
        raise ProposalFailed("; ".join(reasons) or f"there is no proposer {wanted}", retryable=retryable)

    async def _write_task(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        train: list[Sample],
        comparator: Comparator,
    ) -> tuple[ProposalTask, frozenset[str]]:
        """The task, and the hashes of the regression cases in it."""
        known = await self._store.regressions(candidate.app_id, candidate.component_id, candidate.spec_hash)
        kept = [case.case for case in reversed(known) if case.split == "train" and case.case is not None]
        cases = self._verifier.still_wrong(app, component, kept, comparator)
        counterexamples = [
            Counterexample(case["input"], case["expected"], case["got"] if case["got"] is not None else case["why"])
            for case in cases
        ]
        earlier = [
            one
            for one in self._book.candidates(candidate.app_id, candidate.component_id)
            if one.spec_hash == candidate.spec_hash and one.code_sha is not None and one.id != candidate.id
        ]
        task = await self._oracle.write_task(
            candidate.app_id,
            candidate.component_id,
            train=[TrainSample(sample.input, sample.output) for sample in train],
            attempt=candidate.attempt,
            counterexamples=counterexamples,
            previous_ref=candidate_ref(earlier[0].id) if earlier else None,
        )
        return task, frozenset(case["inputHash"] for case in cases)


async def refine(
    proposer: Proposer,
    task: ProposalTask,
    proposal: Proposal,
    examine: Callable[[Proposal], Awaitable[DraftReport]],
    *,
    repair_rounds: int,
) -> Drafted:
    """The best of `proposal` and up to `repair_rounds` repairs of it; each repair is shown what `examine` found."""
    drafts: list[Draft] = []
    best: tuple[Proposal, DraftReport] | None = None
    for rounds_left in range(repair_rounds, -1, -1):
        report = await examine(proposal)
        drafts.append(Draft(report.code_sha, report.stage, report.reason or None, len(report.wrong)))
        if best is None or _rank(report) > _rank(best[1]):
            best = (proposal, report)
        if (report.has_passed and not report.wrong) or not rounds_left:
            break
        failures = report.failures()
        try:
            repaired = await proposer.repair(task, proposal, failures)
        except ProposalFailed as failure:
            log.info("repair_failed", app_id=task.app_id, component_id=task.component_id, why=failure.reason)
            break
        if repaired is None:
            break
        task = dataclasses.replace(task, counterexamples=(*failures.counterexamples, *task.counterexamples))
        proposal = repaired
    assert best is not None  # noqa: S101  at least one draft was examined
    chosen = dataclasses.replace(
        best[0], tokens_in=proposal.tokens_in, tokens_out=proposal.tokens_out, cost_usd=proposal.cost_usd
    )
    return Drafted(chosen, best[1], tuple(drafts), task.counterexamples)


def _rank(report: DraftReport) -> tuple[bool, int, float]:
    """Better drafts are greater: passed, then fewer wrong, then more coverage."""
    return report.has_passed, -len(report.wrong), report.train.coverage if report.train else 0.0
