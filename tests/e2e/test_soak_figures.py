"""The figures of a soak say what was put into them."""

import math
import random

import pytest

from tests.e2e.soak.figures import BLOCK_S, memory_slope, p99_ms, p99_ratio
from tests.e2e.soak.held import Held


def held(at_s: float, memory_mib: float) -> Held:
    return Held(at_s, memory_mib, descriptors=0, threads=0, tasks=0, processes=0, sandboxes=0)


def test_memory_that_grows_evenly_has_that_slope_and_no_error() -> None:
    slope = memory_slope([held(at, 100 + at * 3 / 600) for at in range(600)])
    assert slope.mib == pytest.approx(3)
    assert slope.error == pytest.approx(0, abs=1e-6)


def test_memory_that_only_trembles_has_no_slope_beyond_its_error() -> None:
    dice = random.Random(1)
    slope = memory_slope([held(at, 100 + dice.gauss(0, 1)) for at in range(600)])
    assert 0 < abs(slope.mib) < 3 * slope.error < 2


def test_the_99th_percentile_is_what_one_in_a_hundred_exceeds() -> None:
    assert p99_ms([at / 1000 for at in range(1000)]) == 990
    assert math.isnan(p99_ms([]))


def steps(seed: int, *, factor: float = 1.0, a_block: int = 20, blocks: int = 60) -> list[tuple[float, float]]:
    """Begun at an even pace, some slow by chance."""
    dice = random.Random(seed)
    return [(at * BLOCK_S / a_block, factor * dice.lognormvariate(-5, 0.5)) for at in range(a_block * blocks)]


def test_steps_that_take_as_long_as_before_have_a_ratio_of_one_within_its_interval() -> None:
    ratios = [p99_ratio(steps(seed), steps(seed + 100)) for seed in range(20)]
    assert sum(one.low <= 1 <= one.high for one in ratios) >= 17
    assert all(one.low < one.value < one.high for one in ratios)


def test_steps_that_take_twice_as_long_are_told_apart_from_chance() -> None:
    ratio = p99_ratio(steps(1), steps(2, factor=2))
    assert ratio.low > 1.5
    assert ratio.low < 2 < ratio.high


def test_one_slow_stretch_proves_nothing() -> None:
    slow = [(began_s, took_s * (3 if began_s < 2 * BLOCK_S else 1)) for began_s, took_s in steps(3)]
    ratio = p99_ratio(steps(4), slow)
    assert ratio.value > 1.2
    assert ratio.low < 1


def test_of_few_steps_the_interval_is_wide() -> None:
    few, many = (p99_ratio(steps(5, a_block=a), steps(6, a_block=a)) for a in (2, 40))
    assert few.high / few.low > 1.5 * many.high / many.low
