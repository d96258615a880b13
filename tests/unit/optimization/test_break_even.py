"""When a handler has paid for what it took to make it."""

from typing import Any

import pytest

from uhlp.optimization.break_even import BreakEven, PerCall, break_even, usd


def balance(**changed: Any) -> BreakEven:
    """10 dollars to compile; half of the calls, at 1 cent and 2 s, then take 10 ms and are audited in 10 %."""
    given: dict[str, Any] = {
        "compile_usd": 10.0, "model": PerCall(0.01, 2.0, 100.0), "handler": PerCall(0.0, 0.01), "coverage": 0.5,
        "audit_share": 0.1, "usd_per_second_saved": 0.0, "calls_per_day": 100.0,
    }  # fmt: skip
    return break_even(**{**given, **changed})


def test_audits_and_declined_calls_are_paid_for() -> None:
    one = balance()
    assert one.saving_usd_per_call == pytest.approx(0.5 * 0.9 * 0.01)
    assert one.saving_seconds_per_call == pytest.approx(0.5 * (2.0 - 0.01) - 0.5 * 0.01)
    assert one.saving_tokens_per_call == pytest.approx(45)
    assert one.calls == 2223, "10 / 0.0045, and no part of a call"


def test_what_is_saved_in_thirty_days_is_held_against_the_cost() -> None:
    assert balance(calls_per_day=74.0).horizon_saving_usd == pytest.approx(9.99)
    assert [balance(calls_per_day=rate).is_worth_it for rate in (74.0, 75.0)] == [False, True]
    assert balance(calls_per_day=75.0, horizon_days=29.0).is_worth_it is False


def test_a_free_model_saves_nothing_until_a_second_is_worth_something() -> None:
    free = PerCall(0.0, 2.0)
    assert (balance(model=free).calls, balance(model=free).is_worth_it) == (None, False)
    assert "never pays" in balance(model=free).describe()
    slow = balance(model=free, usd_per_second_saved=0.01)
    assert slow.value_usd_per_call == pytest.approx(0.0099)
    assert (slow.calls, slow.is_worth_it) == (1011, True)


def test_a_free_coder_has_paid_at_once() -> None:
    assert (balance(compile_usd=0.0).calls, balance(compile_usd=0.0).is_worth_it) == (0, True)
    both_free = balance(compile_usd=0.0, model=PerCall(0.0, 2.0))
    assert (both_free.calls, both_free.is_worth_it) == (0, True)


def test_a_handler_that_costs_more_than_the_model_never_pays() -> None:
    dear = balance(handler=PerCall(0.02, 0.01))
    assert (dear.calls, dear.is_worth_it) == (None, False)
    slower = balance(compile_usd=0.0, model=PerCall(0.0, 0.01), handler=PerCall(0.0, 2.0), usd_per_second_saved=1.0)
    assert slower.is_worth_it is False


@pytest.mark.parametrize(
    ("unknown", "said"),
    [
        ({"model": None}, "price per call"),
        ({"model": PerCall(None, 2.0)}, "price per call"),
        ({"compile_usd": None}, "coder's price"),
        ({"calls_per_day": None}, "rate of calls is not known"),
    ],
)
def test_what_is_not_known_is_neither_worth_it_nor_not(unknown: dict[str, Any], said: str) -> None:
    one = balance(**unknown)
    assert one.is_worth_it is None
    assert said in one.describe()


def test_the_sentence_names_cost_saving_calls_and_rate() -> None:
    assert balance().describe() == (
        "compiling takes about $10.00, saves $0.0045 a call (and 0.99 s, which counts for nothing: usdPerSecondSaved "
        "is 0): pays after 2,223 calls, $13.50 in 30 days at 100 calls a day"
    )
    assert "0.99 s of it at $0.10 a second" in balance(usd_per_second_saved=0.1).describe()


def test_names_on_the_wire_are_camel_case() -> None:
    sent = balance().to_dict()
    assert (sent["calls"], sent["compileUsd"], sent["isWorthIt"]) == (2223, 10.0, True)
    assert sent["savingUsdPerCall"] == pytest.approx(0.0045)


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (12.3, "$12.30"), (1234.5, "$1,234.50"), (0.0041, "$0.0041"), (0.0000082, "$0.0000082"),
     (-0.05, "-$0.05"), (-2.0, "-$2.00"), (0.1, "$0.10"), (0.999, "$1.00")],
)  # fmt: skip
def test_dollars_have_as_many_digits_as_say_something(amount: float, text: str) -> None:
    assert usd(amount) == text
