"""The acceptance rule, simulated: the loop runs trials by the very same object."""

from collections.abc import Sequence
from random import Random

import pytest

from uhlp.optimization.compress.acceptance import PairedTrial, Rule, judge

K = 50


def accepts(baseline: Sequence[float], candidate: Sequence[float], random: Random, rule: Rule = "default") -> bool:
    """One trial of two arms whose samples pass with these probabilities."""
    trial = PairedTrial([str(n) for n in range(len(baseline))], rule=rule)
    while (wanted := trial.wanted()) is not None:
        samples, repeats = wanted
        for sample in samples:
            for arm, rates in enumerate((baseline, candidate)):
                for _ in range(repeats):
                    trial.add(arm, sample, float(random.random() < rates[int(sample)]))
    return trial.judgement.decision == "accepted"


def acceptance(baseline: Sequence[float], candidate: Sequence[float], *, trials: int, rule: Rule = "default") -> float:
    random = Random(20)
    return sum(accepts(baseline, candidate, random, rule) for _ in range(trials)) / trials


@pytest.mark.parametrize(("rate", "least"), [(1.0, 1.0), (0.99, 0.99), (0.95, 0.95)])
def test_an_equal_prompt_is_accepted(rate: float, least: float) -> None:
    assert acceptance([rate] * K, [rate] * K, trials=300) >= least


@pytest.mark.parametrize("rate", [1.0, 0.95, 0.9])
def test_a_prompt_that_is_ten_points_worse_is_refused(rate: float) -> None:
    assert acceptance([rate] * K, [rate - 0.1] * K, trials=300) <= 0.10


@pytest.mark.parametrize("rate", [1.0, 0.95, 0.9])
def test_one_broken_sample_is_found(rate: float) -> None:
    assert acceptance([rate] * K, [*[rate] * (K - 1), 0.0], trials=300) <= 0.01


@pytest.mark.long
@pytest.mark.parametrize(("rate", "candidate", "least", "most"), [
    (0.95, [0.95] * K, 0.975, 1.0), (0.95, [0.85] * K, 0.0, 0.03), (0.95, [0.95] * (K - 1) + [0.0], 0.0, 0.001),
    (0.90, [0.90] * K, 0.90, 1.0), (0.90, [0.80] * K, 0.0, 0.03), (1.0, [0.9] * K, 0.0, 0.05),
])  # fmt: skip
def test_the_figures_that_are_documented(rate: float, candidate: list[float], least: float, most: float) -> None:
    assert least <= acceptance([rate] * K, candidate, trials=4_000) <= most


def test_seed_004s_rule_refuses_equal_prompts_that_are_not_always_right() -> None:
    assert acceptance([0.95] * K, [0.95] * K, trials=200, rule="zero_regressions") < 0.3
    assert acceptance([1.0] * K, [1.0] * K, trials=5, rule="zero_regressions") == 1.0


def test_few_samples_decide_nothing() -> None:
    scores = {str(n): [1.0, 1.0, 1.0] for n in range(4)}
    assert judge(scores, scores, is_last=True).decision == "inconclusive"


def test_samples_without_a_result_in_both_arms_are_left_out() -> None:
    baseline = {str(n): [1.0] for n in range(10)}
    candidate = {str(n): [1.0] for n in range(6)}
    assert judge(baseline, candidate, is_last=True).decision == "accepted"
    assert judge(baseline, {**candidate, "5": [0.0]}, is_last=True).lost == ("5",)
