"""The figures of the page on evidence are those of the statistics that decide."""

import re
from itertools import count

import pytest

from uhlp.docs.generate import FOLDER
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.statistics import EvidenceAccount, Monitor, Verdict
from uhlp.evolution.statistics.bounds import delta_for_attempt
from uhlp.evolution.statistics.schedules import audit_share

PAGE = " ".join((FOLDER / "evidence.md").read_text(encoding="utf-8").split())
NUMBERS = EvolutionConfig()


def said(pattern: str) -> tuple[str, ...]:
    """What the groups of `pattern` stand for on the page, where it stands once."""
    (found,) = re.findall(pattern, PAGE)
    return (found,) if isinstance(found, str) else tuple(found)


def judged(losses: dict[int, float], *, attempt: int = 1) -> tuple[Verdict, int]:
    """The verdict and the comparison at which it fell; `losses` has those that are not 0, counted from 1."""
    account = EvidenceAccount.for_attempt(
        attempt, epsilon=NUMBERS.epsilon, delta=NUMBERS.delta, alpha=NUMBERS.alpha, n_max=NUMBERS.n_max
    )
    for number in count(1):
        if (verdict := account.observe(losses.get(number, 0.0))) is not Verdict.HOLD:
            return verdict, number
    raise AssertionError


def test_the_bet_is_the_one_of_the_page() -> None:
    (epsilon,) = said(r"`epsilon`, (\d+) % unless you say otherwise")
    (both,) = said(r"With `epsilon` and `delta` at (\d+) %")
    (money,) = said(r"odds .*? ever reaches (\d+) euros")
    assert {float(epsilon) / 100, float(both) / 100} == {NUMBERS.epsilon} == {NUMBERS.delta}
    assert float(money) == 1 / NUMBERS.delta


@pytest.mark.parametrize("wrong", [0, 1, 2, 5])
def test_so_many_comparisons_prove_it(wrong: int) -> None:
    (comparisons,) = said(rf"\| {wrong} \| (\d+) \|")
    assert "one in twenty" in PAGE
    spread = {20 * (number + 1): 1.0 for number in range(wrong)}
    assert judged(spread) == (Verdict.ACCEPT, int(comparisons))


def test_a_later_candidate_needs_so_many_more() -> None:
    second, third = said(r"the second takes (\d+) comparisons, the third (\d+)")
    assert judged({}, attempt=2) == (Verdict.ACCEPT, int(second))
    assert judged({}, attempt=3) == (Verdict.ACCEPT, int(third))
    money = said(r"the first has to win (\d+) euros, the second (\d+), the third (\d+), and all .*? within the 1 in 20")
    levels = [delta_for_attempt(NUMBERS.delta, attempt) for attempt in range(1, 10_000)]
    assert [1 / level for level in levels[:3]] == pytest.approx([float(one) for one in money])
    assert sum(levels) < NUMBERS.delta == 1 / 20


def test_one_that_is_wrong_every_third_time_is_refused_after_about_a_dozen() -> None:
    said(r"wrong every third time is refused after (about a dozen)")
    verdict, comparisons = judged(dict.fromkeys(range(3, 300, 3), 1.0))
    assert verdict is Verdict.REJECT
    assert 10 <= comparisons <= 14


def test_the_bounds_on_what_counts_are_the_settings() -> None:
    said(r"The same input counts (three times) at most")
    assert NUMBERS.duplicates_cap == 3
    (contradicts,) = said(r"contradicts itself on more than (\d+) %")
    assert NUMBERS.noise.max_self_disagreement == float(contradicts) / 100
    steps = said(r"\| canary \| (\d+), (\d+), (\d+), then (\d+) %")
    assert tuple(float(step) / 100 for step in steps) == NUMBERS.canary.weights


def test_audits_and_their_alarm_are_as_told() -> None:
    a_day, percent = said(r"at least (\d+) a day and (\d+) %")
    assert audit_share(100_000, 1_000_000) == float(percent) / 100
    assert audit_share(100_000, 400) == int(a_day) / 400
    usual, share, patient, its_share = said(r"with (\d+), unless you say otherwise, (\d+) % .*?; with (\d+), (\d+) %")
    assert audit_share(int(usual), 1_000_000) == float(share) / 100
    assert audit_share(int(patient), 1_000_000) == float(its_share) / 100
    said(r"(five wrong in the last twenty)")
    monitor = Monitor(**NUMBERS.monitor.model_dump() | {"mean": NUMBERS.epsilon})  # what it was let in for is tolerated
    assert not any(monitor.observe(loss) for loss in [0.0] * 100 + [1.0] * 4 + [0.0] * 15)
    assert monitor.observe(1.0) == "fast"
