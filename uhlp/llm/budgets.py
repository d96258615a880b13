"""Budgets: how much may be spent on models a day, by an application and by evolution.

Two limits. An application's `llm.budget` covers all that is asked for it; evolution may take no more than a share of
it, so that no request is refused because of a candidate. `evolution.limits.usd_per_day` covers all that evolution asks,
for every application together.

A call is checked before it starts and counted when it is answered. While it is in flight, what it is expected to take
is held against the application's budget, so a burst oversteps a limit by what it took more than expected. Days are UTC
and end for everybody at once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from uhlp.clock import Clock
from uhlp.errors import BudgetExhausted
from uhlp.llm.usage import DAY_S, EVOLUTION, UsageBook, Use
from uhlp.models.definition import ModelBudget

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EvolutionBudget:
    """What evolution may spend. `usd_per_day` None: no limit is set.

    `unpriced_usd_per_mtok` stands in for a price that nobody knows: an unknown price is not free.
    """

    usd_per_day: float | None = None
    share_of_application_budget: float = 0.5
    unpriced_usd_per_mtok: float = 10.0


class Budgets:
    """Says whether a model call may be made. `evolution` gives the limits in force."""

    def __init__(
        self, *, usage: UsageBook, clock: Clock, evolution: Callable[[], EvolutionBudget] = EvolutionBudget
    ) -> None:
        self.usage = usage
        self._clock = clock
        self._evolution = evolution
        self._warned: set[tuple[int, str]] = set()
        self._in_flight: dict[str, Use] = {}
        """By application; nothing where no call is."""

    def check(self, app_id: str, budget: ModelBudget, *, purpose: str) -> None:
        """Raise BudgetExhausted, with retry_after_s until midnight UTC, when a limit is reached."""
        if (refusal := self.refusal(app_id, budget, purpose=purpose)) is not None:
            raise refusal

    def refusal(self, app_id: str, budget: ModelBudget, *, purpose: str) -> BudgetExhausted | None:
        """What `check` would raise; None when the call may be made."""
        limits = self._evolution()
        own = self.usage.of_application(app_id, evolution=False)
        ours = self.usage.of_application(app_id, evolution=True)
        charged = self.charged(ours)
        if purpose in EVOLUTION:
            spent = self.evolution_spent_usd
            if limits.usd_per_day is not None and spent >= limits.usd_per_day:
                return self._spent(
                    f"Evolution has spent its budget of {limits.usd_per_day:g} US dollars for today (UTC).",
                    "evolution", limits.usd_per_day, spent, "US dollars",
                )  # fmt: skip
            share = limits.share_of_application_budget
            for limit, used, unit in _amounts(budget, ours.tokens, charged):
                if used >= limit * share:
                    return self._spent(
                        f"Evolution has spent its share, {share:.0%}, of the model budget of application '{app_id}' "
                        f"({limit:g} {unit}) for today (UTC).",
                        "application", limit * share, used, unit,
                    )  # fmt: skip
        for limit, used, unit in _amounts(budget, own.tokens + ours.tokens, own.usd + charged):
            if used >= limit:
                return self._spent(
                    f"Application '{app_id}' has spent its model budget of {limit:g} {unit} for today (UTC).",
                    "application", limit, used, unit,
                )  # fmt: skip
        return None

    @contextmanager
    def held(self, app_id: str, budget: ModelBudget, *, purpose: str, expected: Use) -> Iterator[None]:
        """Around one call, which is expected to take `expected`. Raises BudgetExhausted, with retry_after_s, when a
        limit is reached, or will be by the calls in flight."""
        self.check(app_id, budget, purpose=purpose)
        flying = self._in_flight.setdefault(app_id, Use())
        try:
            if flying.calls:
                self._check_in_flight(app_id, budget, flying)
            _change(flying, expected, 1)
            try:
                yield
            finally:
                _change(flying, expected, -1)
        finally:
            if not flying.calls:
                self._in_flight.pop(app_id, None)

    def _check_in_flight(self, app_id: str, budget: ModelBudget, flying: Use) -> None:
        own = self.usage.of_application(app_id, evolution=False)
        ours = self.usage.of_application(app_id, evolution=True)
        tokens = own.tokens + ours.tokens + flying.tokens
        for limit, used, unit in _amounts(budget, tokens, own.usd + self.charged(ours) + flying.usd):
            if used >= limit:
                raise BudgetExhausted(
                    f"What is left of the model budget of application '{app_id}' ({limit:g} {unit}) is taken up by "
                    "calls in flight; try again when they are done.",
                    details={"budget": "application", "limit": limit, "spent": used, "unit": unit},
                    retry_after_s=1.0,
                )

    def warn_of_unpriced(self, app_id: str, budget: ModelBudget) -> None:
        """An answer of unknown price cannot count against a budget in dollars: say so once a day and application."""
        key = (self.usage.day, app_id)
        if budget.usd_per_day is not None and key not in self._warned:
            self._warned = {one for one in self._warned if one[0] == key[0]} | {key}
            log.warning("budget_without_price", app_id=app_id, usd_per_day=budget.usd_per_day)

    @property
    def evolution_spent_usd(self) -> float:
        """What evolution has spent today, calls of unknown price at the price that stands in for it."""
        return self.charged(self.usage.of_evolution())

    @property
    def evolution_left_usd(self) -> float | None:
        """What evolution may still spend today; None without a limit."""
        limit = self._evolution().usd_per_day
        return None if limit is None else max(0.0, limit - self.evolution_spent_usd)

    def has_money_limit(self, budget: ModelBudget) -> bool:
        """Whether anything bounds what evolution may spend on an application with this `budget` a day."""
        return self._evolution().usd_per_day is not None or budget.usd_per_day is not None

    def charged(self, use: Use) -> float:
        """US dollars that evolution's use counts for."""
        return use.usd + use.unpriced_tokens * self._evolution().unpriced_usd_per_mtok / 1e6

    def _spent(self, message: str, of: str, limit: float, spent: float, unit: str) -> BudgetExhausted:
        return BudgetExhausted(
            message,
            details={"budget": of, "limit": limit, "spent": spent, "unit": unit},
            retry_after_s=DAY_S - self._clock.now() % DAY_S,
        )


def _change(flying: Use, expected: Use, by: int) -> None:
    flying.calls += by
    flying.tokens_in += by * expected.tokens_in
    flying.tokens_out += by * expected.tokens_out
    flying.usd += by * expected.usd


def _amounts(budget: ModelBudget, tokens: int, usd: float) -> list[tuple[float, float, str]]:
    """(limit, used, unit) of each limit that is set."""
    amounts: list[tuple[float, float, str]] = []
    if budget.tokens_per_day is not None:
        amounts.append((budget.tokens_per_day, tokens, "tokens"))
    if budget.usd_per_day is not None:
        amounts.append((budget.usd_per_day, usd, "US dollars"))
    return amounts
