"""The assignment check against its closed form, and the table of first sights."""

import json
import random
from math import exp, inf, isclose, lgamma, log

import pytest

from uhlp.evolution.statistics import AssignmentCheck, FirstSights


def log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def closed_form(weight: float, k: int, n: int) -> float:
    rarer = min(weight, 1 - weight)
    a, b = weight / rarer, (1 - weight) / rarer
    return log_beta(a + k, b + n - k) - log_beta(a, b) - k * log(weight) - (n - k) * log(1 - weight)


def check_of(weight: float, assigned: list[bool]) -> AssignmentCheck:
    check = AssignmentCheck(weight)
    for is_candidate in assigned:
        check.observe(is_candidate=is_candidate)
    return check


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5, 0.8])
def test_the_money_is_the_beta_binomial_ratio(weight: float) -> None:
    rng = random.Random(1)
    check = check_of(weight, [rng.random() < 0.3 for _ in range(200)])
    assert isclose(check.log_e, closed_form(weight, check.candidate, check.n), abs_tol=1e-9)


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5])
def test_the_game_is_fair_at_every_state_while_routing_keeps_the_weight(weight: float) -> None:
    for k, n in ((0, 0), (0, 30), (7, 30), (30, 30)):
        up = closed_form(weight, k + 1, n + 1) - closed_form(weight, k, n)
        down = closed_form(weight, k, n + 1) - closed_form(weight, k, n)
        assert isclose(weight * exp(up) + (1 - weight) * exp(down), 1.0, rel_tol=1e-9)


def test_too_many_and_too_few_are_both_a_mismatch() -> None:
    assert check_of(0.05, [True] * 8).has_mismatch
    assert check_of(0.05, [False] * 100).has_mismatch is False
    assert check_of(0.05, [False] * 600).has_mismatch
    assert check_of(0.5, [False] * 20).has_mismatch


def test_a_mismatch_stays_until_a_new_check_begins() -> None:
    check = check_of(0.5, [True] * 20)
    for _ in range(20):
        check.observe(is_candidate=False)
    assert check.has_mismatch
    assert check.describe() == "the candidate got 20 of 40 at a weight of 50 % (20 expected)"


def test_at_full_weight_a_single_unit_of_the_baseline_is_a_mismatch() -> None:
    check = check_of(1.0, [True] * 1000)
    assert (check.has_mismatch, check.log_e) == (False, 0.0)
    assert check.observe(is_candidate=False)
    assert check.log_e == inf
    assert AssignmentCheck.from_dict(json.loads(json.dumps(check.to_dict(), allow_nan=False))).log_e == inf
    assert check.summary()["logE"] is None


def test_the_check_survives_a_restart_as_json() -> None:
    rng = random.Random(2)
    unbroken, restarted = AssignmentCheck(0.25), AssignmentCheck(0.25)
    for _ in range(100):
        is_candidate = rng.random() < 0.4
        unbroken.observe(is_candidate=is_candidate)
        restarted.observe(is_candidate=is_candidate)
        restarted = AssignmentCheck.from_dict(json.loads(json.dumps(restarted.to_dict(), allow_nan=False)))
    assert restarted.to_dict() == unbroken.to_dict()


def test_a_weight_that_is_none_is_refused() -> None:
    for weight in (0.0, 1.1, float("nan")):
        with pytest.raises(ValueError, match="no assignment check"):
            AssignmentCheck(weight)


def test_a_unit_is_new_once() -> None:
    sights = FirstSights()
    assert [sights.is_first(unit) for unit in ("a", "b", "a", "b", "c")] == [True, True, False, False, True]
    kept = FirstSights.from_dict(json.loads(json.dumps(sights.to_dict())))
    assert [kept.is_first(unit) for unit in ("a", "c", "d")] == [False, False, True]


def test_the_table_stays_small_and_loses_one_unit_in_ten_after_thirteen_thousand() -> None:
    sights = FirstSights()
    assert len(json.dumps(sights.to_dict())) < 200
    for i in range(13_000):
        sights.is_first(f"unit {i}")
    lost = sum(not sights.is_first(f"later {i}") for i in range(1000)) / 1000
    assert 0.06 < lost < 0.13
    for i in range(200_000):
        sights.is_first(f"many {i}")
    assert len(json.dumps(sights.to_dict())) < 23_000
