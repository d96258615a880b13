"""The monitor's delays, the audit shares and the clocks before compiling again."""

import json
import random

import pytest

from uhlp.evolution.statistics import (
    Alarm,
    Cusum,
    Monitor,
    audit_share,
    failure_is_forgiven,
    recompile_allowed,
    recompile_wait,
    serve_and_check_share,
)


def executions_to_alarm(rate: float, *, seed: int, runs: int, clean_before: int = 0) -> float:
    rng, total = random.Random(seed), 0
    for _ in range(runs):
        cusum, n = Cusum(), 1
        for _ in range(clean_before):
            cusum.observe(0.0)
        while not cusum.observe(float(rng.random() < rate)):
            n += 1
        total += n
    return total / runs


@pytest.mark.parametrize(("rate", "delay"), [(0.05, 161), (0.2, 23), (1.0, 4)])
def test_delay_of_the_alarm_after_a_clean_life(rate: float, delay: float) -> None:
    assert executions_to_alarm(rate, seed=7, runs=1500, clean_before=50) == pytest.approx(delay, rel=0.1)


def test_false_alarms_are_at_least_a_thousand_executions_apart() -> None:
    assert executions_to_alarm(0.01, seed=8, runs=30) >= 1000


def test_five_failures_in_the_last_twenty_alarm_at_once() -> None:
    monitor = Monitor(threshold=1e9)
    for _ in range(5):
        for _ in range(16):
            assert monitor.observe(0.0) is None
        assert monitor.observe(1.0) is None
    alarms = [monitor.observe(1.0) for _ in range(4)]
    assert alarms[-1] is Alarm.FAST
    assert monitor.observe(0.0) is Alarm.FAST


def test_slow_decay_alarms_by_cusum() -> None:
    rng, monitor = random.Random(9), Monitor(fast_failures=100)
    while monitor.observe(float(rng.random() < 0.05)) is None:
        pass
    assert monitor.alarm is Alarm.CUSUM


@pytest.mark.parametrize("at_once", [4, 5, 64])
def test_failures_of_one_moment_raise_no_alarm_however_many_they_are(at_once: int) -> None:
    monitor = Monitor()
    for _ in range(50):
        for number in range(at_once):
            assert monitor.observe(1.0, coincides=number > 0) is None
        for _ in range(150):
            assert monitor.observe(0.0) is None
    assert monitor.failures == 50 * at_once


@pytest.mark.parametrize("at_once", [1, 2, 8, 64])
def test_what_fails_for_good_is_found_after_as_many_moments_as_failures_that_come_one_by_one(at_once: int) -> None:
    monitor = Monitor()
    for _ in range(3):
        for number in range(at_once):
            assert monitor.observe(1.0, coincides=number > 0) is None
    assert monitor.observe(1.0) is Alarm.CUSUM


def test_a_share_of_failures_is_found_although_many_coincide() -> None:
    """A handler that hangs on every twentieth input of a hundred a second: the five that hang together are a moment."""
    monitor, seconds = Monitor(), 0
    while monitor.alarm is None:
        seconds += 1
        for number in range(100):
            monitor.observe(float(number % 20 == 0), coincides=number > 0)
    assert seconds <= 4


def test_the_monitor_survives_a_restart_as_json() -> None:
    rng = random.Random(10)
    unbroken, restarted = Monitor(), Monitor()
    for _ in range(200):
        loss, coincides = float(rng.random() < 0.02), rng.random() < 0.5
        unbroken.observe(loss, coincides=coincides)
        restarted.observe(loss, coincides=coincides)
        restarted = Monitor.from_dict(json.loads(json.dumps(restarted.to_dict(), allow_nan=False)))
    assert restarted.to_dict() == unbroken.to_dict()


def test_the_monitor_takes_no_negative_loss() -> None:
    with pytest.raises(ValueError, match="a loss lies in"):
        Monitor().observe(-1.0)


@pytest.mark.parametrize(
    ("max_wrong", "per_day", "share"),
    [(10, 1000, 0.8), (8, 1000, 1.0), (400, 1000, 0.02), (10_000, 1_000_000, 0.01), (10_000, 100, 0.2), (10, 0, 1.0)],
)
def test_the_audit_share_follows_tolerance_and_traffic(max_wrong: int, per_day: float, share: float) -> None:
    assert audit_share(max_wrong, per_day) == pytest.approx(share)


def test_audits_fall_as_bounds_are_proven() -> None:
    shares = [serve_and_check_share(proven, 0.1) for proven in (None, 0.1, 0.05, 0.03, 0.02, 0.01)]
    assert shares == [1.0, 1.0, 0.5, 0.5, 0.2, 0.1]
    assert serve_and_check_share(0.05, 0.8) == 0.8


def test_both_clocks_must_have_run() -> None:
    wait = recompile_wait(1, key="app/triage")
    assert wait is not None
    assert 540 <= wait.seconds <= 660
    assert wait.samples == 200
    assert recompile_allowed(1, wait.seconds, 200, key="app/triage")
    assert not recompile_allowed(1, wait.seconds - 1, 200, key="app/triage")
    assert not recompile_allowed(1, wait.seconds, 199, key="app/triage")


def test_waits_double_up_to_their_limits_and_end_in_quarantine() -> None:
    waits = [recompile_wait(f, key="k", f_max=20) for f in range(1, 12)]
    assert [wait.samples for wait in waits if wait][:4] == [200, 400, 800, 1600]
    assert waits[-1] is not None
    assert waits[-1].samples == 20_000
    assert waits[-1].seconds == pytest.approx(86_400, rel=0.1)
    assert recompile_wait(5, key="k") is None
    assert not recompile_allowed(5, 1e9, 10**9, key="k")
    assert recompile_allowed(0, 0, 0, key="k")


def test_the_jitter_is_fixed_so_that_looking_often_gains_nothing() -> None:
    assert len({recompile_wait(2, key="one") for _ in range(50)}) == 1
    assert len({recompile_wait(2, key=f"component {i}") for i in range(50)}) == 50


def test_a_failure_is_forgiven_after_a_clean_and_busy_week() -> None:
    week_s = 7 * 86_400.0
    assert failure_is_forgiven(week_s, 1000)
    assert not failure_is_forgiven(week_s - 1, 10**6)
    assert not failure_is_forgiven(10 * week_s, 999)
