"""Score: an evaluator's verdict on one output."""

from typing import Annotated

from pydantic import Field

from uhlp.models.wire import WireModel


class Score(WireModel):
    """`value` from 0 to 1; `reason` is for people. There is one only where the component answered, be it with nothing
    of use: errors have none.

    `tokens` and `usd` are what a judge took; `usd` is None where its price is not known.
    """

    value: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
    passed: bool
    reason: Annotated[str, Field(max_length=2_000)] = ""
    tokens: Annotated[int, Field(ge=0)] = 0
    usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = 0.0


def all_or_nothing(is_right: bool, reason: str = "") -> Score:
    """1 or 0."""
    return Score(value=1.0 if is_right else 0.0, passed=is_right, reason="" if is_right else reason[:2_000])
