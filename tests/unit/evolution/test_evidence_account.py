"""The gate and the published bounds: 03's figures, exactly and by play."""

import json
import random
from math import isclose, log

import pytest

from uhlp.evolution.statistics import BettingProcess, ClassCounts, EvidenceAccount, Verdict


def observe(account: EvidenceAccount, losses: list[float]) -> EvidenceAccount:
    for loss in losses:
        account.observe(loss)
    return account


def test_clean_samples_needed_at_the_first_attempt() -> None:
    account = EvidenceAccount.for_attempt(1)
    assert [(bound, account.needed_more(bound)) for bound in account.bounds] == [
        (0.10, 41),
        (0.05, 84),
        (0.02, 213),
        (0.01, 429),
    ]


def test_zero_loss_is_accepted_after_355_at_one_percent() -> None:
    account = observe(EvidenceAccount(epsilon=0.01), [0.0] * 354)
    assert (account.verdict, account.needed_more()) == (Verdict.HOLD, 1)
    assert account.log_e_accept < account.log_threshold_accept
    assert account.observe(0.0) is Verdict.ACCEPT
    assert (account.verdict_at, account.needed_more()) == (355, 0)


def test_needed_more_keeps_its_promise_after_a_loss() -> None:
    account = observe(EvidenceAccount.for_attempt(2), [0.0] * 20 + [1.0] + [0.0] * 20)
    for bound in account.bounds:
        copy = EvidenceAccount.from_dict(account.to_dict())
        needed = copy.needed_more(bound)
        observe(copy, [0.0] * (needed - 1))
        assert not copy.is_proven(bound)
        copy.observe(0.0)
        assert copy.is_proven(bound)


def test_any_bound_can_be_asked_for() -> None:
    account = observe(EvidenceAccount.for_attempt(1), [0.0] * 50)
    assert account.needed_more(0.2) == 0
    fresh = EvidenceAccount.for_attempt(1, epsilon=0.03)
    assert fresh.bounds == (0.10, 0.05, 0.03, 0.02, 0.01)
    assert fresh.needed_more(0.05) < fresh.needed_more(0.04) < fresh.needed_more() == fresh.needed_more(0.03)


def test_wrong_answers_reject_and_the_verdict_stays() -> None:
    account = observe(EvidenceAccount(), [1.0] * 3)
    assert account.verdict is Verdict.REJECT
    assert account.log_e_reject >= account.log_threshold_reject
    assert observe(account, [0.0] * 1000).verdict is Verdict.REJECT
    assert (account.verdict_at, account.n, account.k) == (2, 1003, 3)


def test_bounds_go_on_after_acceptance() -> None:
    account = observe(EvidenceAccount.for_attempt(1), [0.0] * 84)
    assert (account.verdict, account.proven) == (Verdict.ACCEPT, 0.05)
    assert observe(account, [0.0] * (429 - 84)).proven == 0.01


def test_no_verdict_within_n_max_is_inconclusive() -> None:
    account = observe(EvidenceAccount(epsilon=0.01, n_max=300), [0.0] * 300)
    assert (account.verdict, account.verdict_at) == (Verdict.INCONCLUSIVE, 300)


@pytest.mark.parametrize("loss", [float("nan"), -0.1, 1.1])
def test_what_is_no_loss_changes_nothing(loss: float) -> None:
    account = EvidenceAccount()
    with pytest.raises(ValueError, match="a loss lies in"):
        account.observe(loss)
    assert account.to_dict() == EvidenceAccount().to_dict()


def test_evidence_survives_a_restart_as_json() -> None:
    rng = random.Random(3)
    losses = [float(rng.random() < 0.03) for _ in range(400)] + [0.5]
    unbroken, restarted = EvidenceAccount.for_attempt(1), EvidenceAccount.for_attempt(1)
    for loss in losses:
        unbroken.observe(loss)
        restarted.observe(loss)
        restarted = EvidenceAccount.from_dict(json.loads(json.dumps(restarted.to_dict(), allow_nan=False)))
    assert restarted.to_dict() == unbroken.to_dict()
    assert restarted.summary() == unbroken.summary()


def test_the_interval_starts_wide_and_closes_around_the_rate() -> None:
    assert EvidenceAccount().interval() == (0.0, 1.0)
    rng = random.Random(4)
    account = observe(EvidenceAccount(epsilon=0.2), [float(rng.random() < 0.1) for _ in range(2000)])
    lower, upper = account.interval()
    assert 0.05 < lower < 0.1 < upper < 0.15
    edge = BettingProcess.from_counts(upper, "below", n=account.n, loss=account.loss)
    assert isclose(edge.log_e, account.log_threshold_accept, abs_tol=1e-6)


def test_the_upper_end_is_never_above_what_is_proven() -> None:
    account = observe(EvidenceAccount.for_attempt(1), [0.0] * 429 + [1.0] * 5)
    assert account.proven == 0.01
    assert account.interval()[1] <= 0.01


def test_it_says_what_is_proven_and_what_is_missing() -> None:
    account = observe(EvidenceAccount.for_attempt(1), [0.0] * 48)
    assert account.describe() == "proven < 10 %: 0 of 48 wrong; 36 more right ones prove < 5 %"
    assert EvidenceAccount().describe() == "nothing proven yet: 0 of 0 wrong; 34 more right ones prove < 10 %"
    assert observe(EvidenceAccount(), [1.0] * 3).describe() == "proven > 5 %: 3 of 3 wrong"


def boundaries(epsilon: float, delta: float, alpha: float, n_max: int) -> list[tuple[int, int]]:
    """For each n: accept at k or fewer, reject at k or more (-1 and n + 1 where that cannot be)."""
    result = []
    accept, reject = -1, 1
    for n in range(1, n_max + 1):
        while accept + 1 <= n and _log_e(epsilon, "below", n, accept + 1) >= -log(delta):
            accept += 1
        reject = min(reject, n)
        while reject <= n and _log_e(epsilon, "above", n, reject) < -log(alpha):
            reject += 1
        result.append((accept, reject))
    return result


def _log_e(epsilon: float, side: str, n: int, k: int) -> float:
    return BettingProcess.from_counts(epsilon, side, n=n, loss=k).log_e


def operating_characteristic(bounds: list[tuple[int, int]], rate: float) -> tuple[float, float]:
    """Exact probability of acceptance and mean number of samples at this true loss, by recursion over (n, k)."""
    alive = {0: 1.0}
    accepted = mean_n = 0.0
    for accept, reject in bounds:
        following: dict[int, float] = {}
        for k, mass in alive.items():
            following[k] = following.get(k, 0.0) + mass * (1 - rate)
            following[k + 1] = following.get(k + 1, 0.0) + mass * rate
        mean_n += sum(alive.values())
        accepted += sum(mass for k, mass in following.items() if k <= accept)
        alive = {k: mass for k, mass in following.items() if accept < k < reject and mass > 1e-15}
    return accepted, mean_n


@pytest.fixture(scope="module")
def one_percent_gate() -> list[tuple[int, int]]:
    return boundaries(0.01, 0.05, 0.05, 5000)


@pytest.mark.parametrize(
    ("rate", "accepted", "mean_n"),
    [(0, 1.00, 355), (0.005, 0.895, 2285), (0.01, 0.042, 4697), (0.02, 0.0006, 1103), (0.05, 0, 108), (0.2, 0, 11)],
)
def test_operating_characteristic_of_the_one_percent_gate(
    one_percent_gate: list[tuple[int, int]], rate: float, accepted: float, mean_n: float
) -> None:
    probability, samples = operating_characteristic(one_percent_gate, rate)
    assert probability == pytest.approx(accepted, abs=0.002)
    assert samples == pytest.approx(mean_n, rel=0.01)


def test_the_account_stops_where_the_boundaries_say() -> None:
    bounds = boundaries(0.05, 0.05, 0.05, 600)
    rng = random.Random(5)
    for rate in (0.0, 0.02, 0.05, 0.15):
        account, expected = EvidenceAccount(n_max=600, bounds=()), Verdict.HOLD
        for accept, reject in bounds:
            account.observe(float(rng.random() < rate))
            if expected is Verdict.HOLD:
                expected = (
                    Verdict.REJECT if account.k >= reject else Verdict.ACCEPT if account.k <= accept else Verdict.HOLD
                )
            if account.n < 600:
                assert account.verdict is expected


def test_a_prompt_against_a_prompt_may_win_comparisons() -> None:
    rng = random.Random(6)
    noisy = EvidenceAccount.for_attempt(1, lowest_loss=-1.0)
    while noisy.verdict is Verdict.HOLD:
        noisy.observe(float(rng.random() < 0.05) - float(rng.random() < 0.05))
    assert noisy.verdict is Verdict.ACCEPT
    lower, upper = noisy.interval()
    assert -0.2 < lower < 0.0 < upper <= 0.05
    restarted = EvidenceAccount.from_dict(json.loads(json.dumps(noisy.to_dict(), allow_nan=False)))
    assert restarted.summary() == noisy.summary()
    worse = EvidenceAccount.for_attempt(1, lowest_loss=-1.0)
    while worse.verdict is Verdict.HOLD:
        worse.observe(float(rng.random() < 0.35) - float(rng.random() < 0.05))
    assert worse.verdict is Verdict.REJECT


def test_accounts_kept_before_prompts_were_compared_are_still_read() -> None:
    state = observe(EvidenceAccount(), [0.0, 1.0]).to_dict()
    old = {name: value for name, value in state.items() if name not in ("lowest_loss", "gain")}
    assert EvidenceAccount.from_dict(old).to_dict() == state
    with pytest.raises(ValueError, match="lowest loss"):
        EvidenceAccount(lowest_loss=0.1)


def test_a_class_needs_thirty_agreeing_and_no_miss() -> None:
    classes = ClassCounts()
    for _ in range(30):
        assert not classes.is_trusted("spam")
        classes.observe("spam", agrees=True)
        classes.observe("ham", agrees=True)
    classes.observe("rare", agrees=True)
    assert classes.trusted == ("ham", "spam")
    classes.observe("spam", agrees=False)
    assert classes.trusted == ("ham",)
    assert classes.excluded == {"rare": "only 1 of 30 agreeing comparisons", "spam": "wrong 1 of 31 times"}
    assert (classes.count("spam").agreeing, classes.count("unseen").agreeing) == (30, 0)


def test_a_class_that_missed_is_trusted_again_after_thirty_in_a_row_and_never_when_it_keeps_missing() -> None:
    classes = ClassCounts()
    for agrees in [True] * 40 + [False] + [True] * 29:
        classes.observe("spam", agrees=agrees)
    assert classes.excluded == {"spam": "wrong 1 of 70 times, 29 of 30 in a row since"}
    classes.observe("spam", agrees=True)
    assert classes.is_trusted("spam")
    assert not classes.count("spam").is_hopeless
    for agrees in [False, False, True, False]:
        classes.observe("ham", agrees=agrees)
    assert classes.count("ham").is_hopeless


@pytest.mark.parametrize(("rate", "share"), [(0.005, 0.86), (0.05, 0.21), (0.2, 0.001)])
def test_a_class_is_trusted_for_as_long_as_it_deserves(rate: float, share: float) -> None:
    rng = random.Random(5)
    classes, trusted = ClassCounts(), 0
    for _ in range(20_000):
        trusted += classes.is_trusted("spam")
        classes.observe("spam", agrees=rng.random() >= rate)
    assert abs(trusted / 20_000 - share) < 0.04


def test_class_counts_survive_a_restart_and_stay_bounded() -> None:
    classes = ClassCounts(min_agreeing=1, max_classes=2)
    for name in ("a", "b", "c"):
        classes.observe(name, agrees=True)
    assert classes.trusted == ("a", "b")
    assert not classes.is_trusted("c")
    restarted = ClassCounts.from_dict(json.loads(json.dumps(classes.to_dict())))
    assert restarted.to_dict() == classes.to_dict()
    assert restarted.summary() == {name: {"agreeing": 1, "missed": 0, "trusted": True} for name in ("a", "b")}


def test_the_curve_follows_the_evidence_in_a_bounded_number_of_points_and_over_restarts() -> None:
    account = EvidenceAccount(epsilon=0.05)
    for at in range(3_000):
        account.observe(1.0 if at % 100 == 7 else 0.0)
        if at == 1_500:
            account = EvidenceAccount.from_dict(json.loads(json.dumps(account.to_dict())))
    numbers = [n for n, _k, _for, _against in account.curve]
    assert 40 <= len(numbers) <= 100
    assert numbers == sorted(set(numbers))
    assert (numbers[0] < 100, numbers[-1]) == (True, 3_000)
    assert account.curve[-1] == (3_000, account.k, account.log_e_accept, account.log_e_reject)
    former = {name: value for name, value in account.to_dict().items() if name != "trail"}
    assert EvidenceAccount.from_dict(former).curve == (account.curve[-1],)
