"""Share tests of a canary: the formula, what carries over between steps, and what may count as an event."""

import json
import random
from math import exp, isclose, log, prod
from typing import Any

import pytest

from uhlp.evolution.statistics import CanaryAlarm, CanaryTests, ExceedanceShare, LatencyShares, Outcome, ShareTest

RATIOS = (1.5, 2, 4, 8, 16, 64)


def as_json(state: dict[str, Any]) -> dict[str, Any]:
    restored: dict[str, Any] = json.loads(json.dumps(state, allow_nan=False))
    return restored


def share(w: float, ratio: float) -> float:
    return w * ratio / (w * ratio + 1 - w)


def published(events: list[tuple[bool, float]], rho: float) -> float:
    """S as it is written down, over (is_candidate, weight)."""
    return sum(
        prod(
            share(w, rho * t) / share(w, rho) if is_candidate else (1 - share(w, rho * t)) / (1 - share(w, rho))
            for is_candidate, w in events
        )
        for t in RATIOS
    ) / len(RATIOS)


def drawn(seed: int, *, weights: tuple[float, ...] = (0.05, 0.25, 0.5), each: int = 20) -> list[tuple[bool, float]]:
    rng = random.Random(seed)
    return [(rng.random() < w, w) for w in weights for _ in range(each)]


def play(test: ShareTest, events: list[tuple[bool, float]]) -> ShareTest:
    for is_candidate, weight in events:
        test.observe_bad(is_candidate=is_candidate, weight=weight)
    return test


def test_with_one_step_the_money_is_the_published_formula() -> None:
    for rho in (1.0, 1.05):
        events = drawn(1)
        assert isclose(exp(play(ShareTest(rho=rho, steps=1), events).log_e), published(events, rho), rel_tol=1e-9)


def test_each_part_of_the_money_bets_from_its_step_on() -> None:
    events = drawn(2)
    parts = [published(events[start:], 1.05) for start in (0, 20, 40)]
    assert isclose(exp(play(ShareTest(steps=3), events).log_e), sum(parts) / 3, rel_tol=1e-9)
    begun = [published(events[:20], 1.05), 1.0, 1.0]
    assert isclose(exp(play(ShareTest(steps=3), events[:20]).log_e), sum(begun) / 3, rel_tol=1e-9)


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5])
def test_no_bet_gains_on_average_while_the_candidate_is_no_worse(weight: float) -> None:
    rho = 1.05
    for ratio in RATIOS:
        p0, p = share(weight, rho), share(weight, rho * ratio)
        for truth in (0.0, weight, p0):
            assert truth * p / p0 + (1 - truth) * (1 - p) / (1 - p0) <= 1 + 1e-12


def test_three_bad_events_of_the_candidate_are_the_least_that_speaks() -> None:
    test = ShareTest(alpha=0.2, steps=1)
    assert not test.observe_bad(is_candidate=True, weight=0.01)
    assert not test.observe_bad(is_candidate=True, weight=0.01)
    assert test.log_e > test.log_threshold
    assert test.observe_bad(is_candidate=True, weight=0.01)


def test_the_alarm_stays() -> None:
    test = play(ShareTest(), [(True, 0.05)] * 6)
    assert test.is_alarmed
    assert play(test, [(False, 0.05)] * 500).is_alarmed


def test_nothing_can_be_compared_at_full_weight() -> None:
    test = ShareTest()
    before = test.to_dict()
    assert not test.observe_bad(is_candidate=True, weight=1.0)
    assert test.to_dict() == before
    with pytest.raises(ValueError, match="a weight lies in"):
        test.observe_bad(is_candidate=True, weight=0.0)


def test_a_late_request_of_an_earlier_step_keeps_its_weight() -> None:
    on_time = play(ShareTest(), [(False, 0.05), (True, 0.05), (True, 0.25)])
    late = play(ShareTest(), [(False, 0.05), (True, 0.25), (True, 0.05)])
    assert late.log_e == on_time.log_e


def test_trouble_that_only_load_brings_shows_in_spite_of_a_good_start() -> None:
    good_start = [(False, 0.05)] * 1000 + [(False, 0.25)] * 500
    in_parts, in_one = play(ShareTest(steps=3), good_start), play(ShareTest(steps=1), good_start)
    trouble = [(True, 0.5), (True, 0.5), (True, 0.5), (False, 0.5)] * 40
    assert play(in_parts, trouble).is_alarmed
    assert not play(in_one, trouble).is_alarmed


def test_the_finding_reads_as_a_sentence() -> None:
    test = play(ShareTest(rho=1.0), [(True, 0.05)] * 9 + [(False, 0.05)] * 5)
    assert test.describe() == "9 of 14 were the candidate's; its share of the traffic makes 0.7 of them"
    assert test.summary()["alarm"] is True
    assert (test.bad_candidate, test.bad_baseline) == (9, 5)


def test_share_tests_survive_a_restart_as_json() -> None:
    unbroken, restarted = ShareTest(), ShareTest()
    for event in drawn(3):
        play(unbroken, [event])
        restarted = ShareTest.from_dict(as_json(play(restarted, [event]).to_dict()))
    assert restarted.to_dict() == unbroken.to_dict()
    assert restarted.log_e == unbroken.log_e


def test_the_candidate_may_be_five_percent_slower() -> None:
    latency = ExceedanceShare(100.0)
    for value, is_candidate in ((100.0, False), (105.0, True), (float("nan"), True)):
        latency.observe(value, is_candidate=is_candidate, weight=0.05)
    assert (latency.test.bad_baseline, latency.test.bad_candidate) == (0, 0)
    for value, is_candidate in ((100.1, False), (105.1, True)):
        latency.observe(value, is_candidate=is_candidate, weight=0.05)
    assert (latency.test.bad_baseline, latency.test.bad_candidate) == (1, 1)
    assert ExceedanceShare.from_dict(as_json(latency.to_dict())).to_dict() == latency.to_dict()


def test_median_and_tail_are_watched_apart() -> None:
    tail = LatencyShares(p50_ms=100, p95_ms=200)
    middle = LatencyShares(p50_ms=100, p95_ms=200)
    for _ in range(20):
        slow_tail = tail.observe(300, is_candidate=True, weight=0.25)
        slow_middle = middle.observe(150, is_candidate=True, weight=0.25)
        tail.observe(150, is_candidate=False, weight=0.25)
        tail.observe(150, is_candidate=False, weight=0.25)
        tail.observe(150, is_candidate=False, weight=0.25)
    assert (slow_tail, slow_middle) == ("p95", "p50")
    assert LatencyShares.from_dict(as_json(tail.to_dict())).to_dict() == tail.to_dict()
    with pytest.raises(ValueError, match="p95"):
        LatencyShares(p50_ms=2, p95_ms=1)


def canary(**parameters: Any) -> CanaryTests:
    return CanaryTests(**{"p50_ms": 400.0, "p95_ms": 1000.0, "cost_usd": 0.002} | parameters)


def serve(
    tests: CanaryTests, unit: str, is_candidate: bool, *, failed: bool = False, latency_ms: float = 300.0,
    cost_usd: float = 0.001, weight: float = 0.25,
) -> CanaryAlarm | None:  # fmt: skip
    assigned = tests.assign(unit, is_candidate=is_candidate, weight=weight)
    return tests.finish(assigned, Outcome(failed, latency_ms, cost_usd))


@pytest.mark.parametrize(
    ("bad", "alarm", "words"),
    [
        ({"failed": True}, CanaryAlarm.ERRORS, "errors: of the requests that failed"),
        ({"latency_ms": 500.0}, CanaryAlarm.LATENCY_P50, "slower than the median of 400 ms"),
        ({"latency_ms": 1100.0}, CanaryAlarm.LATENCY_P50, "slower than the median of 400 ms"),
        ({"cost_usd": 0.0025}, CanaryAlarm.COST, "dearer than 0.002 USD"),
    ],
)
def test_each_kind_of_harm_rolls_back_and_says_so(bad: dict[str, Any], alarm: CanaryAlarm, words: str) -> None:
    tests = canary()
    for i in range(60):
        serve(tests, f"unit {i}", i % 4 == 0, **(bad if i % 4 == 0 else {}))
    assert tests.alarm is alarm
    assert words in tests.describe()
    assert tests.summary()["alarm"] == alarm


def test_four_tests_share_one_error_level() -> None:
    assert len(canary().tests) == 4
    assert sum(test.alpha for test in canary(alpha=0.01).tests.values()) == pytest.approx(0.01)
    assert list(CanaryTests().tests) == [CanaryAlarm.ERRORS]


def test_a_unit_counts_once_however_often_it_comes() -> None:
    tests = canary()
    for _ in range(50):
        assert serve(tests, "one slow document", True, latency_ms=5000.0, weight=0.05) is None
    assert tests.tests[CanaryAlarm.LATENCY_P50].bad_candidate == 1
    assert tests.assignment is not None
    assert tests.assignment.n == 1


def test_outcomes_wait_for_earlier_requests_so_that_the_faster_arm_is_not_ahead() -> None:
    tests = canary()
    slow = tests.assign("slow", is_candidate=False, weight=0.5)
    for i in range(40):
        serve(tests, f"fast {i}", True, failed=True, weight=0.5)
    assert tests.errors.bad_candidate == 0
    assert tests.finish(slow, Outcome(failed=True)) is CanaryAlarm.ERRORS
    assert (tests.errors.bad_baseline, tests.errors.bad_candidate) == (1, 40)


def test_a_request_whose_end_nobody_saw_holds_up_nothing_and_counts_for_nothing() -> None:
    tests = canary()
    lost = tests.assign("lost", is_candidate=True, weight=0.5)
    serve(tests, "next", True, failed=True, weight=0.5)
    tests.finish(lost, None)
    tests.finish(lost, Outcome(failed=True))
    assert tests.errors.bad_candidate == 1
    for i in range(10_001):
        tests.assign(f"forgotten {i}", is_candidate=False, weight=0.5)
    serve(tests, "after", True, failed=True, weight=0.5)
    assert tests.errors.bad_candidate == 1
    assert len(tests._pending) <= 10_000


def test_a_new_weight_begins_a_new_assignment_check() -> None:
    tests = canary()
    for i in range(20):
        serve(tests, f"unit {i}", True, weight=0.05)
    assert tests.has_mismatch
    serve(tests, "unit 20", True, weight=0.25)
    assert not tests.has_mismatch
    assert tests.assignment is not None
    assert (tests.assignment.weight, tests.assignment.n) == (0.25, 1)


def test_a_canary_survives_a_restart_as_json() -> None:
    rng = random.Random(4)
    unbroken, restarted = canary(), canary()
    for i in range(300):
        unit, is_candidate, failed = f"unit {i % 200}", rng.random() < 0.25, rng.random() < 0.1
        for tests in (unbroken, restarted):
            serve(tests, unit, is_candidate, failed=failed, latency_ms=rng.random() * 10, weight=0.05 + 0.2 * (i > 150))
        restarted = CanaryTests.from_dict(as_json(restarted.to_dict()))
    assert restarted.to_dict() == unbroken.to_dict()
    assert isclose(restarted.errors.log_threshold, log(400))
