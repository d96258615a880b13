"""Answers by class: a handler serves the values of the decision field that it has earned, and no others."""

from typing import Any

import pytest

from tests.unit.evolution.world import (
    APP,
    CONFIG,
    FORGETS_PEARS,
    GOOD,
    PARSE,
    World,
    coder_answer,
    component,
    line,
    lines,
    parse,
)
from uhlp.evolution.classes import ABSENT, ClassGuard, class_of
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.config_sections import VerifyConfig
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.statistics import Verdict

BY_PRODUCT = component(optimization={"decisionField": "product"})
CRASHES = GOOD.replace("    return {", '    if found[1] == "4711":\n        raise KeyError\n    return {')


@pytest.fixture
async def by_product(empty_world: World) -> World:
    """The shop, where the product decides."""
    await empty_world.register(BY_PRODUCT)
    return empty_world


async def compiled(world: World, code: str = GOOD, *, held_out: list[str] | None = None, train: int = 30) -> str:
    await world.record(lines(train, split="train", without="pears" if code == FORGETS_PEARS else "-"))
    await world.record(held_out or [])
    world.model.coder.append(coder_answer(code))
    return await world.optimize()


def of_kind(kind: str, count: int, start: int = 1) -> list[str]:
    return lines(count, start=start, split="held_out", product=kind)


def evidence(world: World, candidate_id: str) -> LiveEvidence:
    found = world.governor.evidence_of(candidate_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ({"a": {"b": "x"}}, '"x"'),
        ({"a": {"b": 1.0}}, "1"),
        ({"a": {"b": None}}, "null"),
        ({"a": {}}, ABSENT),
        ({"a": "b"}, ABSENT),
        ([1], ABSENT),
    ],
)
def test_the_class_is_the_fields_canonical_value(answer: Any, name: str) -> None:
    assert class_of(answer, "a.b") == name


def test_a_long_value_is_a_class_all_the_same() -> None:
    one, other = ({"a": "x" * 5000 + end} for end in "ab")
    assert class_of(one, "a") != class_of(other, "a")
    assert len(class_of(one, "a")) < 80
    assert ClassGuard("a", frozenset({class_of(one, "a")})).holds_back(other)


async def test_a_class_is_evidence_only_from_its_thirty_first_agreeing_answer(by_product: World) -> None:
    world = by_product
    candidate_id = await compiled(world, held_out=of_kind("figs", 40) + of_kind("limes", 29))
    live = evidence(world, candidate_id)
    assert live.classes.counts.trusted == ('"figs"',)
    assert live.account.n == 10
    assert (live.figures.answered, live.figures.withheld) == (40, 29)
    assert live.classes.counts.excluded == {'"limes"': "only 29 of 30 agreeing comparisons"}


async def test_an_untrusted_class_is_answered_by_the_model_and_gains_trust_meanwhile(by_product: World) -> None:
    world = by_product
    candidate_id = await compiled(world, held_out=of_kind("figs", 80) + of_kind("limes", 20))
    assert world.state_of(candidate_id) == "canary"
    await world.pass_canary(candidate_id, without="limes")
    limes = lines(40, start=90_000, product="limes")
    answers = [await world.send(text) for text in limes]
    assert [one.handler for one in answers] == ["llm"] * 10 + ["jit"] * 30
    assert (answers[0].deoptimized, answers[0].reason) == ("guard", "STATIC")
    assert answers[0].result.data == parse({"text": limes[0]})
    assert world.meter.counts["uhlp_deoptimizations_total", APP, PARSE, "guard"] >= 10


async def test_a_miss_takes_its_class_out_until_thirty_in_a_row_and_leaves_the_others(by_product: World) -> None:
    world = by_product
    figs, apples = of_kind("figs", 60), of_kind("apples", 29)
    wrong = of_kind("pears", 1)  # answered as apples, which is the class that the handler claims
    candidate_id = await compiled(world, FORGETS_PEARS, held_out=[*figs, *apples, *wrong])  # newest first
    live = evidence(world, candidate_id)
    assert (live.classes.counts.trusted, live.account.k) == (('"figs"',), 0)
    assert live.standing({"product": "apples"}) == "unproven"
    lines_of_why = " ".join((await world.oversight.why(APP, PARSE))["lines"])
    assert 'trusted with "figs" (60 agree); left to the model: "apples" (wrong 1 of 30 times, 29 of 30' in lines_of_why
    await world.send(lines(1, start=50_001, product="apples")[0])
    assert live.classes.counts.trusted == ('"apples"', '"figs"')


async def test_a_wrong_answer_that_was_never_to_be_used_is_no_loss_but_a_counterexample(by_product: World) -> None:
    world = by_product
    candidate_id = await compiled(world, FORGETS_PEARS, held_out=of_kind("figs", 40))
    k = world.book.candidate(candidate_id).evidence["k"]
    await world.send("5001 pears")
    candidate = world.book.candidate(candidate_id)
    assert (candidate.evidence["k"], candidate.figures.wrong, len(candidate.mismatches)) == (k, 0, 1)
    await world.send_all(lines(2, start=5002, product="pears"))
    asked = len(world.model.asked)
    await world.send(lines(1, start=6001, product="pears")[0])
    assert len(world.model.asked) == asked + 1, "a hopeless class is not compared any more"
    live = evidence(world, candidate_id)
    assert live.standing({"product": "apples"}) == "excluded"
    assert live.reachable_coverage == pytest.approx(40 / 44)


async def test_coverage_counts_what_is_used_and_does_not_refuse_what_may_still_be(by_product: World) -> None:
    world = by_product
    candidate_id = await compiled(world)
    await world.send_all([line(number) for number in range(5001, 5101)])
    live = evidence(world, candidate_id)
    assert world.state_of(candidate_id) == "shadow"
    assert (live.figures.coverage, live.reachable_coverage) == (0.0, 1.0)
    assert live.account.n == 0


async def test_classes_survive_a_restart(by_product: World) -> None:
    world = by_product
    candidate_id = await compiled(world, held_out=of_kind("figs", 40) + of_kind("limes", 20))
    before = evidence(world, candidate_id)
    await world.restart(crash=True)
    after = evidence(world, candidate_id)
    assert after.classes.counts.to_dict() == before.classes.counts.to_dict()
    assert (after.classes.inputs, after.classes.decision_field) == (before.classes.inputs, "product")
    live = world.live()
    assert live is not None
    assert live.class_guard == ClassGuard("product", frozenset({'"figs"'}))


async def test_failures_before_any_class_is_trusted_do_not_stand_alone_in_the_account(by_product: World) -> None:
    world = by_product
    candidate_id = await compiled(world, CRASHES, held_out=of_kind("figs", 20))
    for _ in range(3):
        await world.send("4711 figs")
    live = evidence(world, candidate_id)
    assert (live.account.n, live.account.verdict) == (0, Verdict.HOLD)


async def test_a_draft_that_is_wrong_in_one_class_on_train_serves_the_others(by_product: World) -> None:
    world = by_product
    await world.record(lines(120, split="train"))
    world.model.coder.extend([coder_answer(FORGETS_PEARS), "no better idea", "none"])
    candidate_id = await world.optimize()
    candidate = world.book.candidate(candidate_id)
    assert candidate.state == "shadow", candidate.reason


async def test_without_a_decision_field_every_answer_is_used(world: World) -> None:
    candidate_id = await compiled(world, held_out=[line(number) for number in range(1, 20)])
    live = evidence(world, candidate_id)
    assert (live.classes.guard(), live.standing({"anything": 1})) == (None, "trusted")
    assert live.account.n > 0


def test_an_input_helps_its_class_three_times_at_most() -> None:
    config = CONFIG.model_copy(update={"verify": VerifyConfig(class_min_agreeing=7)})
    live = LiveEvidence.open(attempt=1, epsilon=0.1, config=config, trained=frozenset(), decision_field="product")
    answer = {"product": "figs"}
    for number in range(10):
        hashed = f"{number % 2}".ljust(64, "0")
        live.enter(Comparison("shadow", hashed, {}, "right", "single", answer, answer), duplicates_cap=3)
    assert (live.classes.counts.count('"figs"').agreeing, live.account.n) == (6, 0)
    live.enter(Comparison("shadow", "3" * 64, {}, "right", "single", answer, answer), duplicates_cap=3)
    assert live.standing(answer) == "trusted"
    wrong = Comparison("shadow", "4" * 64, {}, "wrong", "majority", {"product": "nuts"}, answer)
    live.enter(wrong, duplicates_cap=3)
    assert (live.standing(answer), live.account.k) == ("unproven", 1)
    live.enter(Comparison("shadow", "3" * 64, {}, "right", "single", answer, answer), duplicates_cap=3)
    assert live.classes.counts.count('"figs"').in_a_row == 1, "a new row counts anew"
