"""Refinement: a first draft and its repairs, until one is without fault or the rounds are over."""

import dataclasses
from collections.abc import Awaitable, Callable

import structlog

from uhlp.evolution.candidate import Draft
from uhlp.evolution.measuring import MeasurementFailed
from uhlp.evolution.verification import DraftReport
from uhlp.optimization.proposer import Counterexample, Failures, Proposal, ProposalFailed, ProposalTask, Proposer

log = structlog.get_logger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Drafted:
    """The best draft with its report, every draft's fate, and the counterexamples the proposer was shown.

    `proposal` carries the cost of all rounds. `shown` are the hashes of all inputs that the proposer saw.
    """

    proposal: Proposal
    report: DraftReport
    drafts: tuple[Draft, ...]
    counterexamples: tuple[Counterexample, ...]
    shown: frozenset[str] = frozenset()


async def _all_of_it(draft: Proposal, report: DraftReport) -> Failures:
    return report.failures()


class Refinement:
    """Of one first draft. A run may be repeated: one that could not examine a draft, or could not have it repaired,
    goes on with the same draft, and one that has ended ends alike.

    `task.rounds_left` counts the first draft; an answer that could not be read has taken a round, too.
    """

    def __init__(self, proposer: Proposer, task: ProposalTask, proposal: Proposal) -> None:
        self._proposer = proposer
        self._task = task
        self._proposal = proposal
        self._rounds_left = task.rounds_left - 1 - len(proposal.unreadable)
        self._drafts: list[Draft] = [_unreadable(why) for why in proposal.unreadable]
        self._best: tuple[Proposal, DraftReport] | None = None
        self._to_repair: Failures | None = None
        """What is wrong with the present draft, while the proposer has not been asked for another."""
        self._is_over = False

    async def run(
        self,
        examine: Callable[[Proposal], Awaitable[DraftReport]],
        failures_of: Callable[[Proposal, DraftReport], Awaitable[Failures]] = _all_of_it,
    ) -> Drafted:
        """The best draft; each repair is shown what `failures_of` makes of the last report. Raises what they raise, and
        MeasurementFailed when no draft has passed and the proposer cannot be asked now.

        Tampering in any draft ends it: that draft is the one that is returned.
        """
        while not self._is_over:
            if self._to_repair is None:
                report = await examine(self._proposal)
                self._drafts.append(Draft(report.code_sha, report.stage, report.reason or None, len(report.wrong)))
                if self._best is None or report.tampering or _rank(report) > _rank(self._best[1]):
                    self._best = (self._proposal, report)
                is_faultless = report.has_passed and not report.wrong
                if is_faultless or report.tampering or self._rounds_left <= 0:
                    self._is_over = True
                    break
                self._to_repair = await failures_of(self._proposal, report)
            self._is_over = not await self._repair(self._to_repair)
            self._to_repair = None
        assert self._best is not None  # noqa: S101  one was examined
        return self._drafted(*self._best)

    async def _repair(self, failures: Failures) -> bool:
        """Whether there is another draft."""
        task = dataclasses.replace(self._task, rounds_left=self._rounds_left)
        try:
            repaired = await self._proposer.repair(task, self._proposal, failures)
        except ProposalFailed as failure:
            if failure.retryable and not (self._best is not None and self._best[1].has_passed):
                raise MeasurementFailed(failure.reason) from failure  # the draft is not to blame
            log.info("repair_failed", app_id=task.app_id, component_id=task.component_id, why=failure.reason)
            return False
        if repaired is None:
            return False
        unreadable = repaired.unreadable[len(self._proposal.unreadable) :]
        self._drafts += [_unreadable(why) for why in unreadable]
        self._rounds_left -= 1 + len(unreadable)
        self._task = dataclasses.replace(
            self._task, counterexamples=(*failures.counterexamples, *self._task.counterexamples)
        )
        self._proposal = repaired
        return True

    def _drafted(self, proposal: Proposal, report: DraftReport) -> Drafted:
        last = self._proposal
        chosen = dataclasses.replace(
            proposal, tokens_in=last.tokens_in, tokens_out=last.tokens_out, cost_usd=last.cost_usd
        )
        return Drafted(chosen, report, tuple(self._drafts), self._task.counterexamples)


def _unreadable(why: str) -> Draft:
    return Draft("", "unreadable", why)


def _rank(report: DraftReport) -> tuple[bool, int, float]:
    """Better drafts are greater: passed, then fewer wrong, then more coverage."""
    return report.has_passed, -len(report.wrong), report.train.coverage if report.train else 0.0
