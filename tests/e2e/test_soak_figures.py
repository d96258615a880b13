"""The figures of a soak say what was put into them."""

import math
import random

import pytest

from tests.e2e.soak.figures import memory_slope, p99_ms
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
