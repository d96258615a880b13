"""Drafts and repairs: rounds, what a draft that could not be examined costs, and what is charged."""

from typing import Any

import pytest

from uhlp.evals.replay import Replayed
from uhlp.evolution.charged_proposer import ChargedProposer
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.refinement import Refinement
from uhlp.evolution.verification import DraftReport
from uhlp.optimization.proposer import Failures, Proposal, ProposalFailed, ProposalTask

TASK = ProposalTask("shop", "parse", "", "", None, None, (), rounds_left=4)


def draft(name: str, *, rounds: int = 1, unreadable: int = 0) -> Proposal:
    """The draft of round `rounds`; each took 100 tokens."""
    return Proposal(
        name, "", "", "scripted", cost_usd=float(rounds), tokens_in=100 * rounds, unreadable=("why",) * unreadable
    )


class ScriptedProposer:
    """Gives these proposals, or raises these failures, in turn; `repairs` are the tasks of its repairs."""

    name = "scripted"

    def __init__(self, *made: Proposal | ProposalFailed | None) -> None:
        self.made = list(made)
        self.repairs: list[ProposalTask] = []

    def applies(self, task: ProposalTask) -> str | None:
        return None

    async def propose(self, task: ProposalTask) -> Proposal:
        made = self._next()
        assert made is not None
        return made

    async def repair(self, task: ProposalTask, proposal: Proposal, failures: Failures) -> Proposal | None:
        self.repairs.append(task)
        return self._next()

    def _next(self) -> Proposal | None:
        made = self.made.pop(0)
        if isinstance(made, ProposalFailed):
            raise made
        return made


async def refuse(proposal: Proposal) -> DraftReport:
    return DraftReport(proposal.code).stop("tests", "they fail")


async def accept(proposal: Proposal) -> DraftReport:
    return DraftReport(proposal.code)


async def test_rounds_end_it() -> None:
    proposer = ScriptedProposer(*(draft(str(number), rounds=number) for number in range(2, 9)))
    drafted = await Refinement(proposer, TASK, draft("1")).run(refuse)
    assert [one.sha for one in drafted.drafts] == ["1", "2", "3", "4"]
    assert [task.rounds_left for task in proposer.repairs] == [3, 2, 1]
    assert (drafted.proposal.code, drafted.proposal.tokens_in) == ("1", 400), "the best draft, at the cost of all"


async def test_an_answer_that_could_not_be_read_takes_a_round_and_is_shown_among_the_drafts() -> None:
    proposer = ScriptedProposer(draft("2", rounds=4, unreadable=2), draft("3", rounds=5, unreadable=2))
    drafted = await Refinement(proposer, TASK, draft("1", rounds=2, unreadable=1)).run(refuse)
    assert [one.stage for one in drafted.drafts] == ["unreadable", "tests", "unreadable", "tests"]
    assert len(proposer.made) == 1, "four rounds were allowed"


async def test_a_proposer_without_another_idea_ends_it() -> None:
    for end in (None, ProposalFailed("no")):
        drafted = await Refinement(ScriptedProposer(end), TASK, draft("1")).run(refuse)
        assert len(drafted.drafts) == 1


async def test_a_draft_that_could_not_be_examined_is_the_one_to_go_on_with() -> None:
    proposer = ScriptedProposer(draft("2", rounds=2))
    refinement = Refinement(proposer, TASK, draft("1"))
    answers: list[Any] = [refuse, MeasurementFailed("no sandbox"), accept]

    async def examine(proposal: Proposal) -> DraftReport:
        answer = answers.pop(0)
        if isinstance(answer, MeasurementFailed):
            raise answer
        report: DraftReport = await answer(proposal)
        return report

    with pytest.raises(MeasurementFailed):
        await refinement.run(examine)
    drafted = await refinement.run(examine)
    assert [(one.sha, one.stage) for one in drafted.drafts] == [("1", "tests"), ("2", None)]
    assert len(proposer.repairs) == 1


async def test_a_draft_whose_repair_nobody_can_be_asked_for_now_is_the_one_to_go_on_with() -> None:
    down = ProposalFailed("the coder model did not answer", retryable=True)
    proposer, examined = ScriptedProposer(down, down, draft("2", rounds=2)), []

    async def examine(proposal: Proposal) -> DraftReport:
        examined.append(proposal.code)
        return await (refuse if proposal.code == "1" else accept)(proposal)

    refinement = Refinement(proposer, TASK, draft("1"))
    for _ in range(2):
        with pytest.raises(MeasurementFailed, match="did not answer"):
            await refinement.run(examine)
    drafted = await refinement.run(examine)
    assert [(one.sha, one.stage) for one in drafted.drafts] == [("1", "tests"), ("2", None)]
    assert examined == ["1", "2"], "what is known of a draft is not found out again"


async def test_a_draft_that_has_passed_waits_for_no_repair() -> None:
    async def accept_but_one(proposal: Proposal) -> DraftReport:
        return DraftReport(proposal.code, wrong=[Replayed("h", {}, 1, "differs", 2)])

    down = ProposalFailed("the coder model did not answer", retryable=True)
    drafted = await Refinement(ScriptedProposer(down), TASK, draft("1")).run(accept_but_one)
    assert drafted.report.has_passed


async def test_costs_are_charged_as_they_arise_also_those_of_failures() -> None:
    spending, told = Spending(), []
    failure = ProposalFailed("unreadable", tokens_in=350, tokens_out=7, cost_usd=3.5)
    proposer = ChargedProposer(
        ScriptedProposer(draft("1"), draft("2", rounds=3), None, failure),
        spending,
        on_charge=lambda costs: told.append(costs.tokens_in),
    )
    first = await proposer.propose(TASK)
    await proposer.repair(TASK, first, Failures())
    assert await proposer.repair(TASK, first, Failures()) is None
    with pytest.raises(ProposalFailed):
        await proposer.repair(TASK, first, Failures())
    assert told == [100, 300, 350]
    assert (spending.costs.tokens_out, spending.costs.usd) == (7, 3.5)
