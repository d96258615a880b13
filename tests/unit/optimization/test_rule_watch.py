"""When a rule fires, when it may fire again, and what people read of it."""

from itertools import groupby, pairwise

from hypothesis import given
from hypothesis import strategies as st

from uhlp.models.definition import OptimizationAction
from uhlp.optimization.rule_watch import RuleTruth, RuleWatch

KEY = ("shop", "parse", 0, "count(requests) > 3")


def looks(said: list[bool | None], *, hold: int = 1, candidate: list[bool] | None = None) -> list[bool]:
    """Whether the rule asks at each look."""
    watch = RuleWatch()
    on_its_way = candidate or [False] * len(said)
    return [
        watch.look(KEY, one, hold=hold, has_candidate=has_candidate, now=float(at))
        for at, (one, has_candidate) in enumerate(zip(said, on_its_way, strict=True))
    ]


def test_it_asks_once_it_held_and_while_it_holds_until_a_candidate_has_come() -> None:
    candidate = [False, False, False, False, True, True]
    assert looks([True] * 6, hold=3, candidate=candidate) == [False, False, True, True, False, False]


def test_it_asks_again_when_its_candidate_has_ended() -> None:
    assert looks([True] * 5, candidate=[False, True, True, False, True]) == [True, False, False, True, False]


def test_a_condition_that_flaps_starts_nothing_twice() -> None:
    candidate = [False, False, *[True] * 6]
    assert looks([True, True, False, True, False, True, True, True], hold=2, candidate=candidate) == [
        False, True, *[False] * 6,
    ]  # fmt: skip


def test_the_unknown_interrupts_and_is_not_false() -> None:
    assert looks([True, None, True, True], hold=2) == [False, False, False, True]
    watch = RuleWatch()
    for at, said in enumerate([True, None, None, True]):
        watch.look(KEY, said, hold=1, has_candidate=False, now=float(at))
    assert (watch.standing(KEY).fired_at, watch.standing(KEY).since) == (0.0, 3.0)


def test_false_looks_count_in_a_row_as_well() -> None:
    watch = RuleWatch()
    for at, said in enumerate([True, True, False, None, False, True, True]):
        watch.look(KEY, said, hold=2, has_candidate=False, now=float(at))
    assert watch.standing(KEY).fired_at == 1.0


def test_after_it_was_false_it_fires_anew() -> None:
    watch = RuleWatch()
    fired = []
    for at, said in enumerate([True, False, True, True, False, False, True, True]):
        watch.look(KEY, said, hold=2, has_candidate=False, now=float(at))
        fired.append(watch.standing(KEY).fired_at)
    assert fired == [None, None, None, 3.0, 3.0, None, None, 7.0]


def test_rules_that_are_gone_are_forgotten() -> None:
    watch = RuleWatch()
    watch.look(KEY, True, hold=1, has_candidate=False, now=1.0)
    watch.end_cycle()
    assert watch.standing(KEY).fired_at == 1.0
    watch.end_cycle()
    assert watch.standing(KEY).fired_at is None


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.booleans()), max_size=40), st.integers(1, 4))
def test_in_any_order_it_asks_only_when_it_has_held_and_fires_anew_only_for_a_reason(
    seen: list[tuple[bool | None, bool]], hold: int
) -> None:
    watch = RuleWatch()
    fired: list[int] = []
    for at, (said, has_candidate) in enumerate(seen):
        asks = watch.look(KEY, said, hold=hold, has_candidate=has_candidate, now=float(at))
        if asks:
            assert [one for one, _ in seen[at + 1 - hold : at + 1]] == [True] * hold
        if watch.standing(KEY).fired_at == at:
            fired.append(at)
    for before, after in pairwise(fired):
        between = seen[before + 1 : after + 1]
        runs = [len(list(run)) for said, run in groupby(one for one, _ in between) if said is False]
        has_ended = any(was and not now for (_, was), (_, now) in pairwise(between))
        assert has_ended or max(runs, default=0) >= hold


def test_what_a_rule_says_is_a_sentence() -> None:
    truth = RuleTruth(
        "busy", "p95(latency_ms) > 1", OptimizationAction.TRIGGER_JIT, 60.0, 3, True, None,
        {"p95(latency_ms)": 1234.5678}, 2, 100.0, None,
    )  # fmt: skip
    assert truth.describe(120.0) == (
        "Rule `p95(latency_ms) > 1` is true now: p95(latency_ms) = 1,234.57; "
        "it has held for 20 s, 2 looks of 3 that it needs."
    )
