"""Break-even: after how many calls a handler has paid for what it took to make it, N* = compile cost / saving per call.

Per call, for all calls of a component together:

    saving = coverage · (model - handler - audits) - (1 - coverage) · handler     in dollars and in seconds
    audits = audit share · model                                                 dollars alone: nobody waits for them
    value  = saving in dollars + usdPerSecondSaved · saving in seconds

A share `1 - coverage` of the calls asks the handler first and the model after it. A quantity that is not known (no
price, no traffic) is None and makes what rests on it None: unknown is neither free nor a loss.
"""

from dataclasses import asdict, dataclass
from math import ceil, floor, log10
from typing import Any

from pydantic.alias_generators import to_camel

_S = 1e-12
"""Savings below this are rounding errors."""


@dataclass(frozen=True, slots=True)
class PerCall:
    """What one call takes. `usd` is None when the price is not known."""

    usd: float | None
    seconds: float
    tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class BreakEven:
    """What compiling takes and gives. `calls` is N*: None when it never pays, or when something is not known.

    `value_usd_per_call` is money and time together; `horizon_saving_usd` is its sum over `horizon_days` at
    `calls_per_day`. `is_worth_it`: the sum reaches the cost; None when that is not known.
    """

    compile_usd: float | None
    coverage: float
    audit_share: float
    usd_per_second_saved: float
    saving_usd_per_call: float | None
    saving_seconds_per_call: float
    saving_tokens_per_call: float
    value_usd_per_call: float | None
    calls: int | None
    calls_per_day: float | None
    horizon_days: float
    horizon_saving_usd: float | None
    is_worth_it: bool | None

    def describe(self) -> str:
        """One sentence for people."""
        if self.value_usd_per_call is None or self.compile_usd is None:
            return f"whether it pays is not known: {self._unknown()}"
        per_call = f"{usd(self.value_usd_per_call)} a call ({self._of_what()})"
        cost = f"compiling takes about {usd(self.compile_usd)}"
        if self.value_usd_per_call <= _S and self.compile_usd > 0:
            return f"{cost} and saves {per_call}: it never pays"
        told = f"{cost}, saves {per_call}: pays after {self.calls:,} calls"
        if self.horizon_saving_usd is None:
            return f"{told}; the rate of calls is not known"
        rate = f"{usd(self.horizon_saving_usd)} in {self.horizon_days:g} days at {self.calls_per_day:,.0f} calls a day"
        return f"{told}, {rate}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values, names in camelCase, with the sentence as `words`."""
        return {**{to_camel(name): value for name, value in asdict(self).items()}, "words": self.describe()}

    def _of_what(self) -> str:
        seconds = f"{self.saving_seconds_per_call:.3g} s"
        if not self.usd_per_second_saved:
            return f"and {seconds}, which counts for nothing: usdPerSecondSaved is 0"
        return f"{seconds} of it at {usd(self.usd_per_second_saved)} a second"

    def _unknown(self) -> str:
        if self.value_usd_per_call is None:
            return "the model's price per call is not"
        return "the coder's price is not"


def break_even(
    *,
    compile_usd: float | None,
    model: PerCall | None,
    handler: PerCall,
    coverage: float,
    audit_share: float,
    usd_per_second_saved: float,
    calls_per_day: float | None,
    horizon_days: float = 30.0,
) -> BreakEven:
    """The balance of a handler (see the module's head); `model` None: nothing is known of its calls."""
    saving_usd: float | None = None
    seconds = tokens = 0.0
    if model is not None:
        if model.usd is not None:
            saving_usd = coverage * (1 - audit_share) * model.usd - (handler.usd or 0.0)
        seconds = coverage * model.seconds - handler.seconds
        tokens = coverage * (1 - audit_share) * model.tokens - handler.tokens
    value = None if saving_usd is None else saving_usd + usd_per_second_saved * seconds
    calls: int | None = None
    if compile_usd is not None and value is not None:
        if compile_usd <= 0:
            calls = 0
        elif value > _S:
            calls = ceil(compile_usd / value - 1e-9)
    sum_usd = None if value is None or calls_per_day is None else value * calls_per_day * horizon_days
    return BreakEven(
        compile_usd=compile_usd,
        coverage=coverage,
        audit_share=audit_share,
        usd_per_second_saved=usd_per_second_saved,
        saving_usd_per_call=saving_usd,
        saving_seconds_per_call=seconds,
        saving_tokens_per_call=tokens,
        value_usd_per_call=value,
        calls=calls,
        calls_per_day=calls_per_day,
        horizon_days=horizon_days,
        horizon_saving_usd=sum_usd,
        is_worth_it=None if sum_usd is None or compile_usd is None else sum_usd >= compile_usd,
    )


def usd(amount: float) -> str:
    """Dollars with as many digits as say something: $12.30, $0.0041, $0.0000082."""
    size = abs(amount)
    places = 2 if size >= 0.095 or size == 0 else 1 - floor(log10(size))
    whole, _, rest = f"{size:,.{places}f}".partition(".")
    return f"{'-' if amount < 0 else ''}${whole}.{rest.rstrip('0'):0<2}"
