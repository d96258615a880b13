"""z = R - N by simulation: how often equal, worse and better prompts pass, and what the monitor bears with."""

import random

import pytest

from uhlp.evolution.noise_tolerance import tolerating_noise
from uhlp.evolution.statistics import EvidenceAccount, Monitor, Verdict

ROUNDS = 200
MONITOR = {"mean": 0.05, "fraction": 0.05, "threshold": 1000.0}


def pair(rng: random.Random, noise: float, loss: float) -> float:
    """One comparison: answers of the prompt in service are the usual one but for a share `noise`; the shorter prompt is
    wrong in a share `loss` beside that. No two unusual answers are alike.
    """
    first = rng.random() < noise
    is_other = first or rng.random() < noise or rng.random() < loss
    is_noise = first or rng.random() < noise
    return float(is_other) - float(is_noise)


def share(verdict: Verdict, *, noise: float, loss: float, rounds: int = ROUNDS, n_max: int = 5000) -> float:
    """Of so many runs, how many end like this."""
    rng = random.Random(f"{noise}/{loss}")
    found = 0
    for _ in range(rounds):
        account = EvidenceAccount.for_attempt(1, lowest_loss=-1.0, n_max=n_max)
        while account.verdict is Verdict.HOLD:
            account.observe(pair(rng, noise, loss))
        found += account.verdict is verdict
    return found / rounds


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_equal_prompts_are_accepted_however_noisy_they_are(noise: float) -> None:
    assert share(Verdict.ACCEPT, noise=noise, loss=0.0, rounds=100) >= 0.95


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_what_loses_epsilon_is_accepted_no_more_often_than_delta(noise: float) -> None:
    """At the first attempt delta is .025; the rest is chance (200 runs: 3 standard deviations are .033)."""
    loss = 0.05 / (1 - noise) ** 2  # so that the mean of z is epsilon
    assert share(Verdict.ACCEPT, noise=noise, loss=loss, n_max=800) <= 0.025 + 0.033


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_ten_points_worse_is_not_accepted(noise: float) -> None:
    assert share(Verdict.ACCEPT, noise=noise, loss=0.15, rounds=100) == 0


def fed(noise: float, *, n: int = 400) -> EvidenceAccount:
    rng = random.Random(5)
    account = EvidenceAccount.for_attempt(1, lowest_loss=-1.0)
    for _ in range(n):
        account.observe(pair(rng, noise, 0.0))
    return account


def rings_after(monitor: Monitor, *, noise: float, loss: float, most: int, seed: int) -> int:
    rng = random.Random(seed)
    for number in range(1, most + 1):
        if monitor.observe(max(0.0, pair(rng, noise, loss))) is not None:
            return number
    return most + 1


def test_a_monitor_bears_with_the_noise_that_the_shadow_has_shown() -> None:
    alone = [rings_after(Monitor(**MONITOR), noise=0.2, loss=0.0, most=2_000, seed=seed) for seed in range(20)]
    assert min(alone) <= 2_000, "without it, noise alone rings"
    account = fed(0.2)
    bearing = [
        rings_after(tolerating_noise(Monitor(**MONITOR), account), noise=0.2, loss=0.0, most=2_000, seed=seed)
        for seed in range(20)
    ]
    assert min(bearing) > 2_000
    broken = [
        rings_after(tolerating_noise(Monitor(**MONITOR), account), noise=0.2, loss=0.9, most=2_000, seed=seed)
        for seed in range(20)
    ]
    assert max(broken) <= 60, "what is broken is found all the same"


def test_a_prompt_without_noise_has_the_monitor_that_code_has() -> None:
    plain = Monitor(**MONITOR)
    assert tolerating_noise(plain, fed(0.0)) is plain
