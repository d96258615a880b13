"""What measuring a handler costs, and how measuring itself can fail."""

from uhlp.evolution.candidate import Costs
from uhlp.tools import Usage


class MeasurementFailed(Exception):
    """A model or the machine was not there to measure by; the text says why. It is no score, for or against the
    handler."""


class BudgetSpent(MeasurementFailed):
    """There is no money left to ask today: nothing is wrong with measuring, it waits for the day to turn."""


class Spending:
    """What models took so far for one candidate: coder, references, judge. It only grows."""

    def __init__(self, costs: Costs = Costs()) -> None:  # noqa: B008  frozen
        self.costs = costs

    def add(self, *, tokens_in: int, tokens_out: int, usd: float | None, is_audit: bool = False) -> None:
        """Count one call; `usd` is None when no price is known. `is_audit`: it checked an answer that users got."""
        known, cost = self.costs, usd or 0.0
        self.costs = Costs(
            known.tokens_in + tokens_in,
            known.tokens_out + tokens_out,
            known.usd + cost,
            known.audits + is_audit,
            known.audits_usd + (cost if is_audit else 0.0),
        )

    def add_usage(self, usage: Usage, *, is_audit: bool = False) -> None:
        """Count what one execution took."""
        self.add(tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, usd=usage.cost_usd, is_audit=is_audit)
