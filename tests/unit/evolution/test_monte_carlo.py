"""The governor's error rates and powers by simulation; every failure names its seed.

Gate and CUSUM change only a little between two losses, so the simulations draw the gaps between losses instead of every
sample. `test_the_shortcut_plays_like_the_account` holds that against the class itself.
"""

import random
from collections.abc import Callable
from functools import cache
from heapq import heappop, heappush
from math import exp, log, log1p, sqrt
from statistics import fmean, median, stdev

import pytest

from uhlp.evolution.statistics import (
    AssignmentCheck,
    BettingProcess,
    CanaryTests,
    Cusum,
    EvidenceAccount,
    Monitor,
    Outcome,
    ShareTest,
    Verdict,
    delta_for_attempt,
)

STEPS = ((0.05, 2000), (0.25, 1000), (0.5, 600))


def clean_before_loss(rng: random.Random, rate: float) -> int:
    """How many losses of 0 come before the next of 1."""
    if rate >= 1:
        return 0
    return int(log(1 - rng.random()) / log1p(-rate)) if rate > 0 else 10**9


class Gate:
    """`EvidenceAccount` over losses of 0 and 1, played from loss to loss."""

    def __init__(self, epsilon: float, delta: float = 0.05, alpha: float = 0.05, n_max: int = 5000) -> None:
        self.epsilon, self.n_max = epsilon, n_max
        self._accept, self._reject = -log(delta), -log(alpha)
        self.accepts_at, self.rejects_until = cache(self._accepts_at), cache(self._rejects_until)

    def _accepts_at(self, k: int) -> int:
        return k + BettingProcess.from_counts(self.epsilon, "below", n=k, loss=k).clean_needed(self._accept)

    def _rejects_until(self, k: int) -> int:
        low, high = k - 1, self.n_max + 1
        while high - low > 1:
            n = (low + high) // 2
            refuted = BettingProcess.from_counts(self.epsilon, "above", n=n, loss=k).reached(self._reject)
            low, high = (n, high) if refuted else (low, n)
        return low

    def play(self, rng: random.Random, rate: float) -> tuple[Verdict, int]:
        n = k = 0
        while True:
            loss_at = n + clean_before_loss(rng, rate) + 1
            accept_at = self.accepts_at(k)
            if accept_at < loss_at and accept_at <= self.n_max:
                return Verdict.ACCEPT, accept_at
            if loss_at > self.n_max:
                return Verdict.INCONCLUSIVE, self.n_max
            n, k = loss_at, k + 1
            if n <= self.rejects_until(k):
                return Verdict.REJECT, n
            if n == self.n_max:
                return Verdict.INCONCLUSIVE, n


def test_the_shortcut_plays_like_the_account() -> None:
    gate = Gate(0.05, n_max=500)
    for seed in range(60):
        rate = (0.0, 0.01, 0.05, 0.1)[seed % 4]
        rng, account = random.Random(seed), EvidenceAccount(epsilon=0.05, n_max=500, bounds=())
        while account.verdict is Verdict.HOLD:
            for _ in range(min(clean_before_loss(rng, rate), 500)):
                account.observe(0.0)
            account.observe(1.0)
        played = gate.play(random.Random(seed), rate)
        assert played == (account.verdict, account.verdict_at), f"seed {seed}"


@pytest.mark.parametrize(
    ("rate", "accepted", "mean_n"),
    [(0, 1.00, 355), (0.005, 0.895, 2285), (0.01, 0.042, 4697), (0.02, 0.0006, 1103), (0.05, 0, 108), (0.2, 0, 11)],
)
def test_acceptance_and_samples_of_the_one_percent_gate(rate: float, accepted: float, mean_n: float) -> None:
    seed, runs = 31, 3000
    rng, gate = random.Random(seed), _one_percent_gate()
    played = [gate.play(rng, rate) for _ in range(runs)]
    share = sum(verdict is Verdict.ACCEPT for verdict, _ in played) / runs
    samples = [n for _, n in played]
    error = 4 * sqrt(max(accepted * (1 - accepted), 1 / runs) / runs)
    assert abs(share - accepted) <= error + 0.0005, f"seed {seed}: {share:.4f} accepted, {accepted} expected"
    error = 4 * stdev(samples) / sqrt(runs) + 0.5
    assert abs(fmean(samples) - mean_n) <= error, f"seed {seed}: {fmean(samples):.1f} samples, {mean_n} expected"


@cache
def _one_percent_gate() -> Gate:
    return Gate(0.01)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.01, 0.05), (0.01, 0.025), (0.05, 0.05), (0.05, 0.025), (0.1, 0.05)])
def test_a_handler_at_the_bound_is_accepted_at_most_at_the_error_level(epsilon: float, delta: float) -> None:
    seed, runs = 32, 3000
    rng, gate = random.Random(seed), Gate(epsilon, delta)
    share = sum(gate.play(rng, epsilon)[0] is Verdict.ACCEPT for _ in range(runs)) / runs
    assert share <= delta + 3 * sqrt(delta * (1 - delta) / runs), f"seed {seed}: {share:.4f} accepted"


def test_a_handler_at_the_bound_is_rejected_at_most_at_the_other_error_level() -> None:
    seed, runs = 33, 3000
    rng, gate = random.Random(seed), Gate(0.05)
    share = sum(gate.play(rng, 0.05)[0] is Verdict.REJECT for _ in range(runs)) / runs
    assert share <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs), f"seed {seed}: {share:.4f} rejected"


def test_twenty_attempts_together_keep_the_level_that_twenty_without_correction_break() -> None:
    seed, runs = 34, 400
    corrected = [Gate(0.05, delta_for_attempt(0.05, a), n_max=1000) for a in range(1, 21)]
    uncorrected = [Gate(0.05, n_max=1000)] * 20

    def passed(gates: list[Gate]) -> float:
        rng = random.Random(seed)
        return sum(any(gate.play(rng, 0.05)[0] is Verdict.ACCEPT for gate in gates) for _ in range(runs)) / runs

    assert passed(corrected) <= 0.05 + 3 * sqrt(0.05 * 0.95 / runs), f"seed {seed}"
    assert passed(uncorrected) > 0.3, f"seed {seed}"


def executions_to_cusum_alarm(rng: random.Random, rate: float) -> int:
    cusum, n = Cusum(), 0
    drift = log(1 - cusum.fraction)
    while True:
        clean = clean_before_loss(rng, rate)
        if clean:
            cusum.log_m = max(drift, max(0.0, cusum.log_m) + clean * drift)
        n += clean + 1
        if cusum.observe(1.0):
            return n


@pytest.mark.parametrize(("rate", "delay"), [(0.05, 161), (0.2, 23), (1.0, 4)])
def test_delay_of_the_monitor_after_a_long_clean_life(rate: float, delay: float) -> None:
    seed, runs = 35, 8000
    rng = random.Random(seed)
    delays = [executions_to_cusum_alarm(rng, rate) for _ in range(runs)]
    # The published delays come from a smaller simulation; this one's standard error is below 1 %.
    assert fmean(delays) == pytest.approx(delay, rel=0.07), f"seed {seed}: {fmean(delays):.1f}, {delay} expected"


def test_false_alarms_of_the_monitor_are_at_least_a_thousand_executions_apart() -> None:
    seed, runs = 36, 1000
    rng = random.Random(seed)
    times = [executions_to_cusum_alarm(rng, 0.01) for _ in range(runs)]
    assert fmean(times) - 4 * stdev(times) / sqrt(runs) >= 1000, f"seed {seed}: {fmean(times):.0f}"


def test_the_fast_rule_does_not_bring_false_alarms_closer_than_a_thousand() -> None:
    seed, runs = 37, 60
    rng, times = random.Random(seed), []
    for _ in range(runs):
        monitor = Monitor()
        while monitor.n < 10_000 and monitor.observe(float(rng.random() < 0.01)) is None:
            pass
        times.append(monitor.n)
    assert fmean(times) >= 1000, f"seed {seed}: {fmean(times):.0f}"


Latency = Callable[[random.Random, bool], float]


def model_latency(rng: random.Random, is_candidate: bool) -> float:
    return rng.lognormvariate(6, 0.6)


def canary_of(*, steps: int = 3) -> CanaryTests:
    """Thresholds that a baseline of `model_latency` has."""
    return CanaryTests(p50_ms=exp(6), p95_ms=exp(6 + 1.645 * 0.6), cost_usd=exp(6) / 1e6, steps=steps)


def requests_to_rollback(
    rng: random.Random,
    *,
    errors: tuple[float, float] = (0.05, 0.05),
    latency: Latency = model_latency,
    plan: tuple[tuple[float, int], ...] = STEPS,
) -> int | None:
    """One canary, request after request; None where it passes all steps. The cost follows the latency."""
    tests, number = canary_of(), 0
    for weight, requests in plan:
        for _ in range(requests):
            number += 1
            is_candidate = rng.random() < weight
            latency_ms = latency(rng, is_candidate)
            outcome = Outcome(rng.random() < errors[is_candidate], latency_ms, latency_ms / 1e6)
            if tests.finish(tests.assign(f"{number}", is_candidate=is_candidate, weight=weight), outcome):
                return number
    return None


def rolled_back(runs: int, seed: int, *, errors: tuple[float, float], latency: Latency) -> float:
    rng = random.Random(seed)
    return sum(requests_to_rollback(rng, errors=errors, latency=latency) is not None for _ in range(runs)) / runs


def five_percent_slower(rng: random.Random, is_candidate: bool) -> float:
    return model_latency(rng, is_candidate) * (1.05 if is_candidate else 1.0)


def test_identical_arms_roll_back_at_most_one_canary_in_a_hundred() -> None:
    seed, runs = 38, 150
    share = rolled_back(runs, seed, errors=(0.05, 0.05), latency=model_latency)
    assert share <= 0.01 + 3 * sqrt(0.01 * 0.99 / runs), f"seed {seed}: {share:.4f} rolled back"


@pytest.mark.long
@pytest.mark.parametrize("latency", [model_latency, five_percent_slower], ids=["identical", "at the tolerance"])
def test_arms_within_the_tolerance_roll_back_at_most_one_canary_in_a_hundred(latency: Latency) -> None:
    errors = (0.05, 0.05 if latency is model_latency else 0.0525)
    seed = 39
    share = rolled_back(2000, seed, errors=errors, latency=latency)
    assert share <= 0.01, f"seed {seed}: {share:.4f} rolled back"


@pytest.mark.parametrize("alpha", [0.05, 0.0025])
def test_a_share_test_at_its_worst_null_keeps_its_level_over_all_steps(alpha: float) -> None:
    seed, runs = 40, 2000
    rng, alarms = random.Random(seed), 0
    for _ in range(runs):
        test = ShareTest(alpha=alpha)
        for weight, bad_events in ((0.05, 200), (0.25, 100), (0.5, 40)):
            worst = weight * 1.05 / (weight * 1.05 + 1 - weight)
            for _ in range(bad_events):
                test.observe_bad(is_candidate=rng.random() < worst, weight=weight)
        alarms += test.is_alarmed
    share = alarms / runs
    assert share <= alpha + 3 * sqrt(alpha * (1 - alpha) / runs), f"seed {seed}: {share:.4f} alarms"


def slower(rng: random.Random, is_candidate: bool) -> float:
    return model_latency(rng, is_candidate) * (1.3 if is_candidate else 1.0)


@pytest.mark.parametrize(
    ("errors", "latency", "at_most"),
    [
        ((0.05, 0.10), model_latency, 4000),
        ((0.05, 0.25), model_latency, 500),
        ((0.05, 0.05), slower, 3000),
        ((0.05, 0.05), lambda rng, is_candidate: model_latency(rng, is_candidate) * (1 + is_candidate), 300),
    ],
    ids=["errors x 2", "errors x 5", "latency x 1.3", "latency x 2"],
)
def test_a_worse_candidate_is_rolled_back(errors: tuple[float, float], latency: Latency, at_most: int) -> None:
    seed, runs = 41, 15
    rng = random.Random(seed)
    plan = ((0.25, 20_000),)
    needed = [requests_to_rollback(rng, errors=errors, latency=latency, plan=plan) for _ in range(runs)]
    assert None not in needed, f"seed {seed}"
    middle = median(n for n in needed if n is not None)
    assert middle <= at_most, f"seed {seed}: {middle} requests at a weight of 25 %"


def late_trouble(rng: random.Random, steps: int) -> int:
    """Requests at 50 % until a candidate is rolled back that was fast at 5 and 25 % and is slow at 50 %."""
    tests, number = canary_of(steps=steps), 0
    for weight, requests in ((0.05, 1000), (0.25, 500), (0.5, 5000)):
        for n in range(requests):
            number += 1
            is_candidate = rng.random() < weight
            factor = (2.0 if weight == 0.5 else 0.05) if is_candidate else 1.0
            outcome = Outcome(False, model_latency(rng, is_candidate) * factor)
            if tests.finish(tests.assign(f"{number}", is_candidate=is_candidate, weight=weight), outcome):
                return n + 1
    return 5000


def test_trouble_that_comes_with_load_is_found_sooner_with_money_kept_for_each_step() -> None:
    seed = 42
    rng = random.Random(seed)
    in_parts, in_one = ([late_trouble(rng, steps) for _ in range(15)] for steps in (3, 1))
    assert fmean(in_parts) < 0.6 * fmean(in_one), f"seed {seed}: {fmean(in_parts):.0f}, {fmean(in_one):.0f}"


def canary_with_a_fast_candidate(rng: random.Random, *, in_order: bool) -> bool:
    """200 requests a second, 10 % fail in both arms; the candidate takes 5 ms, the model 2 s. Rolled back?"""
    tests, test = CanaryTests(), ShareTest(alpha=0.0025)
    now, running = 0.0, []
    for weight, requests in ((0.05, 800), (0.25, 800), (0.5, 800)):
        for _ in range(requests):
            now += rng.expovariate(200)
            is_candidate = rng.random() < weight
            assigned = tests.assign(f"{now!r}", is_candidate=is_candidate, weight=weight)
            ends = now + (0.005 if is_candidate else rng.lognormvariate(log(2), 0.3))
            heappush(running, (ends, now, is_candidate, weight, rng.random() < 0.1, assigned))
            while running and running[0][0] <= now:
                _, _, of_candidate, its_weight, failed, done = heappop(running)
                tests.finish(done, Outcome(failed))
                if failed:
                    test.observe_bad(is_candidate=of_candidate, weight=its_weight)
    return tests.alarm is not None if in_order else test.is_alarmed


def test_a_candidate_that_is_only_faster_is_not_taken_for_one_that_fails_more() -> None:
    seed, runs = 43, 25
    rng = random.Random(seed)
    in_order = sum(canary_with_a_fast_candidate(rng, in_order=True) for _ in range(runs))
    as_finished = sum(canary_with_a_fast_candidate(rng, in_order=False) for _ in range(runs))
    assert in_order == 0, f"seed {seed}: {in_order} of {runs} rolled back"
    assert as_finished > runs / 2, f"seed {seed}: the trap that ordering avoids is gone ({as_finished} of {runs})"


def canary_over_sessions(rng: random.Random, *, once: bool) -> bool:
    """Identical arms, 150 sessions that keep their arm and their own speed. Rolled back?"""
    tests, number = canary_of(), 0
    places = [rng.random() for _ in range(150)]
    speeds = [rng.lognormvariate(6, 0.55) for _ in range(150)]
    for weight, requests in STEPS:
        for _ in range(requests):
            number, session = number + 1, rng.randrange(150)
            unit = f"session {session}" if once else f"request {number}"
            assigned = tests.assign(unit, is_candidate=places[session] < weight, weight=weight)
            tests.finish(assigned, Outcome(False, speeds[session] * rng.lognormvariate(0, 0.1)))
    return tests.alarm is not None


def test_sessions_that_keep_their_arm_are_no_evidence_each_time_they_come() -> None:
    seed, runs = 44, 60
    rng = random.Random(seed)
    once = sum(canary_over_sessions(rng, once=True) for _ in range(runs))
    assert once == 0, f"seed {seed}: {once} of {runs} rolled back"
    each_time = sum(canary_over_sessions(rng, once=False) for _ in range(runs))
    assert each_time >= 3, f"seed {seed}: the trap that counting once avoids is gone ({each_time} of {runs})"


@pytest.mark.parametrize("weight", [0.05, 0.25, 0.5])
def test_the_assignment_check_seldom_holds_a_sound_step(weight: float) -> None:
    seed, runs, alpha = 45, 500, 0.05
    rng, held = random.Random(seed), 0
    for _ in range(runs):
        check = AssignmentCheck(weight, alpha=alpha)
        for _ in range(1000):
            check.observe(is_candidate=rng.random() < weight)
        held += check.has_mismatch
    share = held / runs
    assert share <= alpha + 3 * sqrt(alpha * (1 - alpha) / runs), f"seed {seed}: {share:.4f} held"


@pytest.mark.parametrize(
    ("weight", "truth", "at_most"), [(0.05, 0.10, 600), (0.05, 0.25, 60), (0.25, 0.35, 500), (0.5, 0.4, 600)]
)
def test_the_assignment_check_finds_a_routing_bug(weight: float, truth: float, at_most: int) -> None:
    seed, needed = 46, []
    rng = random.Random(seed)
    for _ in range(40):
        check = AssignmentCheck(weight)
        while not check.observe(is_candidate=rng.random() < truth):
            pass
        needed.append(check.n)
    assert median(needed) <= at_most, f"seed {seed}: {median(needed)} units"
