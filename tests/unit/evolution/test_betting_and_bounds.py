"""E-processes and fixed-sample bounds against exact arithmetic."""

import random
from fractions import Fraction
from math import comb, exp, isclose, log

import pytest

from uhlp.evolution.statistics import BettingProcess, clopper_pearson_upper, delta_for_attempt, n_required
from uhlp.evolution.statistics.bounds import binomial_cdf

BELOW = list(zip((1, 0.75, 0.5, 0.25, 0.1, 0.03), (0.45, 0.2, 0.15, 0.1, 0.05, 0.05), strict=True))
ABOVE = [(fraction, 1 / 6) for fraction in (1, 0.3, 0.1, 0.03, 0.01, 0.003)]


def money_below(epsilon: float, losses: list[float]) -> float:
    total = 0.0
    for fraction, share in BELOW:
        for z in losses:
            share *= 1 + fraction / (1 - epsilon) * (epsilon - z)
        total += share
    return total


def money_above(epsilon: float, losses: list[float], lowest: float = 0.0) -> float:
    bets = ABOVE if lowest == 0 else [(fraction, 1 / 6) for fraction in (1, 0.5, 0.25, 0.1, 0.05, 0.02)]
    total = 0.0
    for fraction, share in bets:
        for z in losses:
            share *= 1 + fraction / (epsilon - lowest) * (z - epsilon)
        total += share
    return total


def played(process: BettingProcess, losses: list[float]) -> BettingProcess:
    for loss in losses:
        process.update(loss)
    return process


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.0, 0.25, 0.5, 1.0)], ids=["binary", "graded"])
def test_the_money_is_the_published_formula(values: tuple[float, ...]) -> None:
    rng = random.Random(1)
    losses = [rng.choice(values) if rng.random() < 0.2 else 0.0 for _ in range(60)]
    assert isclose(exp(played(BettingProcess(0.05, "below"), losses).log_e), money_below(0.05, losses), rel_tol=1e-9)
    assert isclose(exp(played(BettingProcess(0.05, "above"), losses).log_e), money_above(0.05, losses), rel_tol=1e-9)


def test_differences_of_two_noisy_arms_may_be_negative() -> None:
    losses = [1.0, -1.0, 0.0, 0.0, 1.0]
    process = played(BettingProcess(0.05, "above", lowest_loss=-1.0), losses)
    assert isclose(exp(process.log_e), money_above(0.05, losses, lowest=-1.0), rel_tol=1e-9)


def test_counts_alone_give_the_same_money_for_binary_losses() -> None:
    losses = [0.0] * 90 + [1.0] * 4
    for side in ("below", "above"):
        stepwise = played(BettingProcess(0.05, side), losses)
        assert isclose(stepwise.log_e, BettingProcess.from_counts(0.05, side, n=94, loss=4).log_e, abs_tol=1e-9)


def test_counts_alone_never_claim_more_money_than_graded_losses_earned() -> None:
    losses = [0.0, 0.5, 0.25] * 20
    for side in ("below", "above"):
        stepwise = played(BettingProcess(0.3, side), losses)
        assert BettingProcess.from_counts(0.3, side, n=60, loss=sum(losses)).log_e <= stepwise.log_e + 1e-9


def test_counts_of_negative_losses_give_the_same_money_too() -> None:
    losses = [0.0] * 50 + [1.0] * 4 + [-1.0] * 6
    for side in ("below", "above"):
        stepwise = played(BettingProcess(0.05, side, lowest_loss=-1.0), losses)
        counted = BettingProcess.from_counts(0.05, side, n=60, loss=4, gain=6, lowest_loss=-1.0)
        assert isclose(stepwise.log_e, counted.log_e, abs_tol=1e-9)


def test_what_is_proven_for_a_bound_is_proven_for_every_larger_one() -> None:
    money = [BettingProcess.from_counts(m / 100, "below", n=200, loss=3).log_e for m in range(1, 60)]
    assert money == sorted(money)


def test_clean_needed_is_exact() -> None:
    process = played(BettingProcess(0.05, "below"), [0.0] * 30 + [1.0] + [0.0] * 10)
    needed = process.clean_needed(log(40))
    played(process, [0.0] * (needed - 1))
    assert process.log_e < log(40)
    played(process, [0.0])
    assert process.log_e >= log(40)
    assert process.reached(log(40))
    assert process.clean_needed(log(40)) == 0


def test_a_mean_outside_the_losses_range_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        BettingProcess(0.0, "below")
    with pytest.raises(ValueError, match="grows on losses of 0"):
        BettingProcess(0.1, "above").clean_needed(3.0)


def exact_cdf(k: int, n: int, p: Fraction) -> float:
    return float(sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)))


@pytest.mark.parametrize(("k", "n", "p"), [(0, 59, "1/20"), (3, 100, "1/50"), (12, 40, "3/10"), (40, 40, "1/2")])
def test_binomial_probabilities_match_exact_fractions(k: int, n: int, p: str) -> None:
    assert isclose(binomial_cdf(k, n, float(Fraction(p))), exact_cdf(k, n, Fraction(p)), rel_tol=1e-10)


def test_degenerate_binomials() -> None:
    assert (binomial_cdf(-1, 5, 0.5), binomial_cdf(2, 5, 0.0), binomial_cdf(2, 5, 1.0)) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(("k", "n"), [(0, 81), (1, 48), (7, 300)])
def test_clopper_pearson_solves_its_equation(k: int, n: int) -> None:
    upper = clopper_pearson_upper(k, n, 0.05)
    assert isclose(exact_cdf(k, n, Fraction(upper)), 0.05, rel_tol=1e-9)


def test_clopper_pearson_without_knowledge_is_one() -> None:
    assert clopper_pearson_upper(0, 0, 0.05) == 1.0
    assert clopper_pearson_upper(5, 5, 0.05) == 1.0


def test_fixed_samples_at_the_first_attempt() -> None:
    level = delta_for_attempt(0.05, 1)
    assert [n_required(k, epsilon, level) for epsilon in (0.05, 0.01) for k in (0, 1)] == [72, 110, 368, 555]


def test_all_attempts_together_spend_delta() -> None:
    assert delta_for_attempt(0.05, 1) == 0.025
    assert isclose(sum(delta_for_attempt(0.05, a) for a in range(1, 5000)), 0.05, rel_tol=1e-3)
    with pytest.raises(ValueError, match="count from 1"):
        delta_for_attempt(0.05, 0)
