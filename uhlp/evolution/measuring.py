"""What measuring a handler costs, and how measuring itself can fail."""

from uhlp.evolution.candidate import Costs
from uhlp.tools import Usage


class MeasurementFailed(Exception):
    """The reference could not be asked; the text says why. It is no score, for or against the handler."""


class Spending:
    """What models took so far for one candidate: coder, references, judge. It only grows."""

    def __init__(self, costs: Costs = Costs()) -> None:  # noqa: B008  frozen
        self.costs = costs

    def add(self, *, tokens_in: int, tokens_out: int, usd: float | None) -> None:
        """Count one call; `usd` is None when no price is known."""
        known = self.costs
        self.costs = Costs(known.tokens_in + tokens_in, known.tokens_out + tokens_out, known.usd + (usd or 0.0))

    def add_usage(self, usage: Usage) -> None:
        """Count what one execution took."""
        self.add(tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, usd=usage.cost_usd)
