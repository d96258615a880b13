"""ChargedProposer: a proposer whose costs are charged as they arise, also those of proposals that fail."""

from collections.abc import Callable
from typing import TypeVar

from uhlp.evolution.candidate import Costs
from uhlp.evolution.measuring import Spending
from uhlp.optimization.proposer import Failures, Proposal, ProposalFailed, ProposalTask, Proposer

Made = TypeVar("Made", Proposal, ProposalFailed)


class ChargedProposer:
    """Proposals carry the costs of all their rounds; what is new in them is charged to `spending`, which may be
    exchanged between two calls. `on_charge` is told each time what has been spent."""

    def __init__(self, proposer: Proposer, spending: Spending, *, on_charge: Callable[[Costs], object]) -> None:
        self._proposer = proposer
        self.spending = spending
        self._on_charge = on_charge
        self._charged = (0, 0, 0.0)

    @property
    def name(self) -> str:
        return self._proposer.name

    def applies(self, task: ProposalTask) -> str | None:
        """As the proposer says."""
        return self._proposer.applies(task)

    async def propose(self, task: ProposalTask) -> Proposal:
        """Raises ProposalFailed."""
        try:
            return self._charge(await self._proposer.propose(task))
        except ProposalFailed as failure:
            self._charge(failure)
            raise

    async def repair(self, task: ProposalTask, proposal: Proposal, failures: Failures) -> Proposal | None:
        """Raises ProposalFailed."""
        try:
            repaired = await self._proposer.repair(task, proposal, failures)
        except ProposalFailed as failure:
            self._charge(failure)
            raise
        return None if repaired is None else self._charge(repaired)

    def _charge(self, made: Made) -> Made:
        tokens_in, tokens_out, usd = self._charged
        self.spending.add(
            tokens_in=made.tokens_in - tokens_in, tokens_out=made.tokens_out - tokens_out, usd=made.cost_usd - usd
        )
        self._charged = made.tokens_in, made.tokens_out, made.cost_usd
        self._on_charge(self.spending.costs)
        return made
