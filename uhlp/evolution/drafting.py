"""Drafting: one candidate's proposer, its drafts, and up to `repair_rounds` rounds of showing it what went wrong."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import structlog

from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState, Costs
from uhlp.evolution.charged_proposer import ChargedProposer
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.measuring import Spending
from uhlp.evolution.minimiser import Minimiser
from uhlp.evolution.refinement import Drafted, Refinement
from uhlp.evolution.regressions import Lessons
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.verification import DraftReport, Verifier, handler_of
from uhlp.optimization.optimization_oracle import OptimizationOracle
from uhlp.optimization.proposer import (
    Counterexample,
    Failures,
    Proposal,
    ProposalFailed,
    ProposalTask,
    TrainSample,
)
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import Sample

log = structlog.get_logger(__name__)

_MINIMISED_PER_DRAFT = 2


class Drafting:
    """Asks proposers for handlers. They see TRAIN samples only, and of these only what redaction leaves."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        oracle: OptimizationOracle,
        verifier: Verifier,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._store = store
        self._oracle = oracle
        self._verifier = verifier
        self._config = config
        self._begun: dict[str, tuple[Refinement, ChargedProposer, set[str]]] = {}
        """By candidate that is not further yet: its drafts, their proposer, and the inputs that it saw."""

    async def draft(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        train: list[Sample],
        comparator: Comparator,
        *,
        lessons: Lessons,
        minimiser: Minimiser,
        spending: Spending,
    ) -> Drafted:
        """Propose, examine, show what failed, again; stops at a draft without fault.

        What proposers take is charged to `spending` and kept with the candidate at once. Raises ProposalFailed; and
        MeasurementFailed and Unavailable when a draft could not be run, or nobody could be asked for its repair. While
        the candidate is not further, whatever the reason, the next call goes on where this one came to.
        """
        masked = Redaction(component.configuration.get("redact", ())).apply
        self._forget_the_ended()
        begun = self._begun.get(candidate.id)
        if begun is not None:
            refinement, proposer, shown = begun
            proposer.spending = spending
        else:
            shown = {*lessons.shown, *(sample.input_hash for sample in train)}
            refinement, proposer = await self._begin(candidate, train, lessons, masked, spending)
        barred = (await self._store.attempts(candidate.app_id, candidate.component_id, candidate.spec_hash)).barred

        async def examine(draft: Proposal) -> DraftReport:
            report = await self._verifier.examine(
                app, component, draft, train, comparator,
                epsilon=component.definition.optimization.epsilon, spending=spending, regression_tests=lessons.tests,
            )  # fmt: skip
            if report.has_passed and report.code_sha in barred:
                return report.stop("barred", "the same code was refused or rolled back before")
            return report

        async def failures_of(draft: Proposal, report: DraftReport) -> Failures:
            return await _with_small_ones(draft, report, minimiser, masked, shown)

        self._begun[candidate.id] = refinement, proposer, shown
        drafted = await refinement.run(examine, failures_of)
        return dataclasses.replace(drafted, shown=frozenset(shown))

    async def _begin(
        self,
        candidate: Candidate,
        train: list[Sample],
        lessons: Lessons,
        masked: Callable[[Any], Any],
        spending: Spending,
    ) -> tuple[Refinement, ChargedProposer]:
        """A first draft of the first proposer that has one; the cheapest is asked first. ProposalFailed names every
        reason."""
        task = await self._write_task(candidate, train, lessons, masked)
        reasons: list[str] = []
        retryable = False
        for wrapped in self._oracle.proposers(candidate.proposer or None):
            proposer = ChargedProposer(wrapped, spending, on_charge=partial(self._keep_costs, candidate.id))
            reason = proposer.applies(task)
            if reason is None:
                try:
                    return Refinement(proposer, task, await proposer.propose(task)), proposer
                except ProposalFailed as failure:
                    reason, retryable = failure.reason, retryable or failure.retryable
            reasons.append(f"{proposer.name}: {reason}")
        raise ProposalFailed("; ".join(reasons) or f"there is no proposer {candidate.proposer}", retryable=retryable)

    def _keep_costs(self, candidate_id: str, costs: Costs) -> None:
        self._book.grow(candidate_id, costs=costs)

    async def _write_task(
        self, candidate: Candidate, train: list[Sample], lessons: Lessons, masked: Callable[[Any], Any]
    ) -> ProposalTask:
        task = await self._oracle.write_task(
            candidate.app_id,
            candidate.component_id,
            train=[TrainSample(masked(sample.input), masked(sample.output)) for sample in train],
            attempt=candidate.attempt,
            counterexamples=[
                Counterexample(masked(one.input), masked(one.expected), masked(one.got))
                for one in lessons.counterexamples
            ],
        )
        task = dataclasses.replace(task, rounds_left=1 + self._config.now.verify.repair_rounds)
        previous = lessons.previous
        if previous is None:
            return task
        return dataclasses.replace(
            task,
            previous_code=previous.code,
            previous_coverage=previous.coverage,
            deoptimised=tuple(TrainSample(masked(one.input), masked(one.output)) for one in previous.deoptimised),
        )

    def _forget_the_ended(self) -> None:
        still = (one for one in self._begun if self._book.candidate(one).state is CandidateState.DISCOVERED)
        self._begun = {one: self._begun[one] for one in still}


async def _with_small_ones(
    draft: Proposal,
    report: DraftReport,
    minimiser: Minimiser,
    masked: Callable[[Any], Any],
    shown: set[str],
) -> Failures:
    """What the proposer is shown of a refused draft: its failures, some made smaller. `shown` learns their inputs."""
    failures = report.failures(masked)
    smaller: list[Counterexample] = []
    replaced = 0
    for one in report.smallest_wrong()[:_MINIMISED_PER_DRAFT]:
        made = await minimiser.minimise(handler_of(draft.code), one.input, one.expected)
        if made is None:
            break
        replaced += 1
        shown.add(made.input_hash)
        got = made.got if made.got is not None else made.why
        smaller.append(Counterexample(masked(made.input), masked(made.expected), masked(got)))
    return dataclasses.replace(failures, counterexamples=(*smaller, *failures.counterexamples[replaced:]))
