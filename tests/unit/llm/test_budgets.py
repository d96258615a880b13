"""Who may still ask a model today."""

from contextlib import ExitStack
from typing import Any

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import BudgetExhausted
from uhlp.llm import Budgets, EvolutionBudget, UsageBook
from uhlp.llm.usage import Use
from uhlp.models.definition import ModelBudget

NONE = ModelBudget()


class Purse:
    def __init__(self, evolution: EvolutionBudget = EvolutionBudget()) -> None:  # noqa: B008  frozen
        self.clock = FakeClock()
        self.limits = evolution
        self.usage = UsageBook(clock=self.clock)
        self.budgets = Budgets(usage=self.usage, clock=self.clock, evolution=lambda: self.limits)

    def spend(self, purpose: str, usd: float | None, app_id: str = "shop", tokens: int = 100) -> None:
        self.usage.called(app_id, "parse", purpose, tokens_in=tokens, tokens_out=0, usd=usd, seconds=0.1)

    def may(self, purpose: str, budget: ModelBudget = NONE, app_id: str = "shop") -> bool:
        return self.budgets.refusal(app_id, budget, purpose=purpose) is None


@pytest.mark.parametrize("purpose", ["coder", "judge", "reference", "audit", "shadow", "replay"])
def test_all_that_evolution_asks_is_paid_from_one_purse(purpose: str) -> None:
    purse = Purse(EvolutionBudget(usd_per_day=1.0))
    purse.spend("coder", 0.6)
    assert purse.may(purpose)
    purse.spend("audit", 0.4, "other")
    assert not purse.may(purpose)
    assert purse.may("serve"), "applications go on"


def test_a_refusal_says_which_purse_and_until_when() -> None:
    purse = Purse(EvolutionBudget(usd_per_day=0.5))
    purse.spend("coder", 0.5)
    with pytest.raises(BudgetExhausted) as raised:
        purse.budgets.check("shop", NONE, purpose="audit")
    error = raised.value
    assert (error.code, error.status, error.retryable) == ("BUDGET_EXHAUSTED", 429, True)
    assert error.details == {"budget": "evolution", "limit": 0.5, "spent": 0.5, "unit": "US dollars"}
    assert error.retry_after_s == 86_400 - purse.clock.now() % 86_400
    purse.clock.advance(error.retry_after_s)
    assert purse.may("audit")


def test_a_higher_limit_helps_at_once() -> None:
    purse = Purse(EvolutionBudget(usd_per_day=0.5))
    purse.spend("coder", 0.5)
    purse.limits = EvolutionBudget(usd_per_day=2.0)
    assert purse.may("coder")
    assert purse.budgets.evolution_left_usd == 1.5


def test_evolution_takes_no_more_than_its_share_of_an_applications_budget() -> None:
    purse, budget = Purse(), ModelBudget(usd_per_day=1.0)
    purse.spend("coder", 0.5)
    assert not purse.may("audit", budget)
    assert purse.may("serve", budget), "no request is refused because of a candidate"
    assert purse.may("audit", budget, "other")


def test_an_applications_budget_covers_evolution_too() -> None:
    purse, budget = Purse(), ModelBudget(usd_per_day=1.0)
    purse.spend("serve", 0.7)
    purse.spend("coder", 0.3)
    assert not purse.may("serve", budget)
    assert not purse.may("audit", budget)


def test_tokens_are_a_budget_as_money_is() -> None:
    purse, budget = Purse(), ModelBudget(tokens_per_day=300)
    purse.spend("serve", 0.0, tokens=200)
    assert purse.may("serve", budget)
    purse.spend("coder", 0.0, tokens=100)
    assert not purse.may("serve", budget)


def test_an_unknown_price_is_not_free_for_evolution() -> None:
    purse = Purse(EvolutionBudget(usd_per_day=1.0, unpriced_usd_per_mtok=10.0))
    purse.spend("coder", None, tokens=99_000)
    assert purse.may("coder")
    purse.spend("coder", None, tokens=1_000)
    assert not purse.may("coder")


def test_a_model_of_price_zero_spends_nothing() -> None:
    purse = Purse(EvolutionBudget(usd_per_day=0.01))
    purse.spend("coder", 0.0, tokens=10_000_000)
    assert purse.may("coder")
    assert purse.budgets.evolution_left_usd == 0.01


@pytest.mark.parametrize(
    ("usd_per_day", "budget", "has_limit"),
    [(None, NONE, False), (1.0, NONE, True), (None, ModelBudget(usd_per_day=1.0), True),
     (None, ModelBudget(tokens_per_day=1000), False)],
)  # fmt: skip
def test_only_money_is_a_limit_of_money(usd_per_day: float | None, budget: ModelBudget, has_limit: bool) -> None:
    purse = Purse(EvolutionBudget(usd_per_day=usd_per_day))
    assert purse.budgets.has_money_limit(budget) is has_limit


def hold(purse: Purse, budget: ModelBudget, *, tokens: int = 0, usd: float = 0.0, app_id: str = "shop") -> Any:
    expected = Use(tokens_in=tokens, usd=usd)
    return purse.budgets.held(app_id, budget, purpose="serve", expected=expected)


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(ModelBudget(tokens_per_day=1000), {"tokens": 400}), (ModelBudget(usd_per_day=1.0), {"usd": 0.4})],
)
def test_calls_in_flight_are_held_against_the_budget_until_they_are_answered(
    budget: ModelBudget, expected: dict[str, Any]
) -> None:
    purse = Purse()
    with ExitStack() as flying:
        for _ in range(3):
            flying.enter_context(hold(purse, budget, **expected))
        with pytest.raises(BudgetExhausted, match="in flight") as raised, hold(purse, budget, **expected):
            pass
        assert raised.value.retry_after_s == 1.0
        with hold(purse, budget, app_id="other", **expected):
            assert purse.may("serve", budget), "what is in flight is not spent"
    with hold(purse, budget, **expected):
        pass


def test_a_call_that_fails_is_held_no_longer() -> None:
    purse, budget = Purse(), ModelBudget(tokens_per_day=100)
    for _ in range(3):
        with pytest.raises(LookupError), hold(purse, budget, tokens=90):
            raise LookupError


def test_a_single_call_is_not_refused_for_what_it_may_take() -> None:
    purse, budget = Purse(), ModelBudget(tokens_per_day=100)
    with hold(purse, budget, tokens=5000):
        pass
