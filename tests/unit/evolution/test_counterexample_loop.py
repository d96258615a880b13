"""What a handler got wrong teaches the next: kept, made small, shown and tested on TRAIN, replayed where held out."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.evolution.world import APP, CONFIG, PARSE, PARSE_OUTPUT, World, coder_answer, component
from uhlp.traffic.split import input_hash, split_of

LETTER = (
    "Dear all, {politely} as told on the phone last week by my colleague from the other office, who sends his regards, "
    "we would like to have {order} for the party, yours sincerely, {name}"
)
NAMES = ("Ann Archer", "Bob Baker", "Cy Carter", "Di Dyer", "Ed Eder")
SEARCH = re.compile(r"(\d+) (apples|pears|plums|figs)")

READS_LETTERS = """\
import re
from uhlp_runtime import Deoptimize

ORDER = re.compile(r"(\\d+) (apples|pears|plums|figs)")


def handle(inputs, context):
    found = ORDER.search(inputs["text"])
    if found is None:
        raise Deoptimize("no order")
    return {"quantity": int(found[1]), "product": found[2]}
"""
TESTS = """\
from handler import handle


def test_an_order():
    assert handle({"text": "2 apples"}, {}) == {"quantity": 2, "product": "apples"}
"""


def but(line: str) -> str:
    """The right handler with one more line before its answer."""
    return READS_LETTERS.replace("    return", f"    {line}\n    return")


TWICE_WHEN_URGENT = but('if "urgent" in inputs["text"] and found[2] == "pears": return {"quantity": 0, "product": "x"}')
FAILS_WHEN_URGENT = but('if "urgent" in inputs["text"]: raise ValueError(inputs["text"])')
LEAVES_URGENT = but('if "urgent" in inputs["text"]: raise Deoptimize("urgent")')


def read_letter(inputs: dict[str, Any]) -> Any:
    found = SEARCH.search(inputs["text"])
    return {"quantity": int(found[1]), "product": found[2]} if found else {"quantity": 0, "product": "nothing"}


def letters(order: str = "{number} {product}", *, split: str | None = None, start: int = 1) -> Iterator[str]:
    number = start
    while True:
        product = ("apples", "pears", "plums", "figs")[number % 4]
        written = order.format(number=number, product=product)
        text = LETTER.format(politely="if I may," * (number % 3), order=written, name=NAMES[number % 5])
        if split is None or split_of(input_hash({"text": text})) == split:
            yield text
        number += 1


def some(count: int, *args: Any, **named: Any) -> list[str]:
    return [text for text, _ in zip(letters(*args, **named), range(count), strict=False)]


def shown(specification: str) -> list[dict[str, Any]]:
    """The counterexamples in a prompt."""
    return [json.loads(line) for line in specification.split("\n") if line.startswith('{"input"') and '"got"' in line]


@pytest.fixture
async def shop(empty_world: World) -> World:
    """A shop whose customers write letters."""
    await empty_world.register(component(outputSchema=PARSE_OUTPUT))
    empty_world.model.answer = read_letter
    return empty_world


async def refused_for(shop: World, code: str, urgent: list[str]) -> str:
    """A candidate that got these letters wrong in shadow, and was rejected."""
    await shop.record(some(30, split="train") + some(10, split="held_out"))
    shop.model.coder.append(coder_answer(code, TESTS))
    candidate_id = await shop.optimize()
    assert shop.state_of(candidate_id) == "shadow", shop.book.candidate(candidate_id).reason
    await shop.send_all(urgent)
    if shop.state_of(candidate_id) == "shadow":
        await shop.oversight.act(candidate_id, "reject", actor="ann", reason="urgent ones are wrong")
    return candidate_id


async def next_one(shop: World, *codes: str) -> Any:
    shop.model.coder.extend(coder_answer(code, TESTS) for code in codes)
    return shop.book.candidate(await shop.optimize())


async def test_a_lost_comparison_becomes_a_small_case_that_the_next_coder_sees(shop: World) -> None:
    (urgent,) = some(1, "urgent {number} pears", split="train", start=500)
    await refused_for(shop, TWICE_WHEN_URGENT, [urgent])
    asked, prompts = len(shop.model.asked), len(shop.model.specifications)
    candidate = await next_one(shop, READS_LETTERS)
    assert candidate.state == "shadow", candidate.reason
    (case,) = shown(shop.model.specifications[prompts])
    assert len(case["input"]["text"]) < len(urgent) / 4
    assert case["expected"] == read_letter(case["input"])
    assert case["got"] == {"quantity": 0, "product": "x"}
    assert split_of(input_hash(case["input"])) == "train"
    assert 0 < len(shop.model.asked) - asked <= CONFIG.minimising.model_calls + 2
    assert candidate.costs.tokens_in == 100 * (len(shop.model.asked) - asked + 1), "A/A, the steps, and the coder"


async def test_a_small_case_joins_the_set_once_and_nobody_pays_for_it_again(shop: World) -> None:
    await refused_for(shop, TWICE_WHEN_URGENT, some(1, "urgent {number} pears", split="train", start=500))
    second = await next_one(shop, READS_LETTERS)
    cases = await shop.store.regressions(APP, PARSE, shop.spec_hash())
    assert [case.case["minimisedFrom"] for case in cases if case.case and case.case.get("minimisedFrom")] == [
        cases[0].payload
    ]
    notes = [one.entry.reason for one in await shop.store.entries(candidate_id=second.id)]
    assert "made 1 counterexample of earlier attempts smaller" in notes
    await shop.oversight.act(second.id, "reject", actor="ann", reason="once more")
    prompts = len(shop.model.specifications)
    asked = len(shop.model.asked)
    third = await next_one(shop, READS_LETTERS + "# third\n")
    assert third.state == "shadow", third.reason
    assert len(shop.model.asked) - asked == 5, "A/A alone"
    assert shown(shop.model.specifications[prompts])[0]["input"] == cases[-1].case["input"]  # type: ignore[index]


async def test_what_the_coder_was_shown_small_is_never_evidence(shop: World) -> None:
    await refused_for(shop, TWICE_WHEN_URGENT, some(1, "urgent {number} pears", split="train", start=500))
    prompts = len(shop.model.specifications)
    candidate = await next_one(shop, READS_LETTERS)
    (case,) = shown(shop.model.specifications[prompts])
    evidence = shop.governor.evidence_of(candidate.id)
    n = evidence.account.n
    await shop.send(case["input"]["text"])
    assert evidence.account.n == n
    await shop.send(some(1, start=90_000)[0])
    assert evidence.account.n == n + 1


async def test_a_coder_that_repeats_the_mistake_sees_the_failing_test_and_is_refused(shop: World) -> None:
    await refused_for(shop, TWICE_WHEN_URGENT, some(1, "urgent {number} pears", split="train", start=500))
    prompts = len(shop.model.specifications)
    candidate = await next_one(shop, *[TWICE_WHEN_URGENT + f"# {number}\n" for number in range(4)])
    assert (candidate.state, candidate.cause) == ("rejected", "regression")
    assert candidate.reason == "1 of 1 inputs that earlier handlers got wrong, still are"
    assert [draft.stage for draft in candidate.drafts] == ["regression"] * 4
    assert "test_regression_1" in shop.model.specifications[prompts + 1]


async def test_a_case_that_is_left_to_the_model_is_none_that_was_missed(shop: World) -> None:
    await refused_for(shop, TWICE_WHEN_URGENT, some(1, "urgent {number} pears", split="train", start=500))
    candidate = await next_one(shop, LEAVES_URGENT)
    assert candidate.state == "shadow", candidate.reason


async def test_held_out_cases_stay_whole_and_are_in_no_prompt(shop: World) -> None:
    urgent = some(2, "urgent {number} pears", split="held_out", start=500)
    await refused_for(shop, TWICE_WHEN_URGENT, urgent)
    asked = len(shop.model.asked)
    await next_one(shop, READS_LETTERS)
    assert len(shop.model.asked) - asked == 5, "A/A alone"
    cases = await shop.store.regressions(APP, PARSE, shop.spec_hash())
    assert [case.split for case in cases] == ["held_out", "held_out"]
    assert not [prompt for prompt in shop.model.specifications if "urgent 5" in prompt]


async def test_a_handler_that_loses_what_the_last_one_answered_rightly_is_refused_by_the_cases(shop: World) -> None:
    urgent = some(2, "urgent {number} pears", split="held_out", start=500)
    await refused_for(shop, TWICE_WHEN_URGENT, urgent)
    second = await next_one(shop, READS_LETTERS)
    await shop.oversight.act(second.id, "reject", actor="ann", reason="for another reason")
    third = await next_one(shop, LEAVES_URGENT)
    assert (third.state, third.cause) == ("rejected", "regression")
    cases = await shop.store.regressions(APP, PARSE, shop.spec_hash())
    names = ", ".join(f"{case.payload[:12]} (HELD-OUT)" for case in cases)
    counts = "of 2 inputs that earlier handlers got wrong it answers 0 rightly, the last handler 2"
    assert third.reason == f"{counts}: cases {names}"


async def test_a_handler_that_is_wrong_where_the_last_one_was_careful_is_refused(shop: World) -> None:
    urgent = some(2, "urgent {number} pears", split="held_out", start=500)
    await refused_for(shop, TWICE_WHEN_URGENT, urgent)
    second = await next_one(shop, LEAVES_URGENT)
    await shop.oversight.act(second.id, "reject", actor="ann", reason="too careful")
    third = await next_one(shop, TWICE_WHEN_URGENT + "# again\n")
    assert (third.state, third.cause) == ("rejected", "regression")
    assert "0 rightly and 2 wrongly, the last handler 0 and 0" in third.reason
    assert {mismatch.split for mismatch in third.mismatches} == {"held_out"}
    assert len(third.drafts) == 1, "a coder is never told of held-out cases"


async def test_a_failing_input_is_made_small_without_asking_what_is_right_at_every_step(shop: World) -> None:
    await refused_for(shop, FAILS_WHEN_URGENT, some(1, "urgent {number} pears", split="train", start=500))
    asked, prompts = len(shop.model.asked), len(shop.model.specifications)
    await next_one(shop, READS_LETTERS)
    (case,) = shown(shop.model.specifications[prompts])
    assert len(case["input"]["text"]) < 50
    assert case["got"].startswith("exception: ")
    assert case["expected"] == read_letter(case["input"])
    assert len(shop.model.asked) - asked == 5 + 2, "A/A, and two calls that agree on what is right"


async def test_without_a_budget_for_it_an_input_stays_as_it_was(shop: World) -> None:
    shop.config = CONFIG.with_overrides({"minimising": {"model_calls": 0}})
    await shop.restart()
    (urgent,) = some(1, "urgent {number} pears", split="train", start=500)
    await refused_for(shop, TWICE_WHEN_URGENT, [urgent])
    asked, prompts = len(shop.model.asked), len(shop.model.specifications)
    await next_one(shop, READS_LETTERS)
    assert [case["input"]["text"] for case in shown(shop.model.specifications[prompts])] == [urgent]
    assert len(shop.model.asked) - asked == 5


async def test_what_no_majority_upholds_is_not_taken_for_right(shop: World) -> None:
    """Asked about a letter that was made smaller, this model says something else each time."""
    (urgent,) = some(1, "urgent {number} pears", split="train", start=500)
    await refused_for(shop, TWICE_WHEN_URGENT, [urgent])
    times = iter(range(1000, 9000))

    def unsure(inputs: dict[str, Any]) -> Any:
        is_letter = inputs["text"].startswith("Dear") and inputs["text"].endswith(NAMES)
        return read_letter(inputs) if is_letter else {"quantity": next(times), "product": "made up"}

    shop.model.answer = unsure
    prompts = len(shop.model.specifications)
    await next_one(shop, READS_LETTERS)
    for case in shown(shop.model.specifications[prompts]):
        assert case["expected"]["product"] == "pears"


async def test_the_next_coder_is_told_of_the_last_handler_its_coverage_and_what_it_left(shop: World) -> None:
    timid = but('if found[2] == "figs": raise Deoptimize("figs")')
    await refused_for(shop, timid, [])
    prompts = len(shop.model.specifications)
    await next_one(shop, READS_LETTERS)
    prompt = shop.model.specifications[prompts]
    assert timid.strip() in prompt
    train = some(30, split="train")
    left = [text for text in train if "figs" in text]
    assert f"It answers {1 - len(left) / len(train):.0%} of the recorded inputs itself" in prompt
    wishes = prompt.partition("# Inputs the previous handler left to the model")[2]
    assert all(json.dumps(text) in wishes for text in left[:3])
    assert "apples" not in wishes.partition("# Answer")[0]


async def test_a_repair_is_shown_a_small_form_of_what_its_draft_got_wrong(shop: World) -> None:
    await shop.record(some(20, split="train") + some(8, "urgent {number} pears", split="train", start=500))
    shop.model.coder.extend([coder_answer(TWICE_WHEN_URGENT, TESTS), coder_answer(READS_LETTERS, TESTS)])
    candidate = shop.book.candidate(await shop.optimize())
    assert [draft.stage for draft in candidate.drafts] == ["train_replay", None]
    smallest = shown(shop.model.specifications[1])[0]
    assert len(smallest["input"]["text"]) < 60
    assert smallest["expected"] == read_letter(smallest["input"])
    assert input_hash(smallest["input"])[:16] in shop.governor.evidence_of(candidate.id).trained


async def test_a_failure_in_service_is_a_test_of_the_next_attempt_whether_it_was_audited_or_not(
    empty_world: World,
) -> None:
    shop = empty_world
    await shop.register(component(outputSchema=PARSE_OUTPUT, optimization={"maxWrongAnswers": 10_000}))
    shop.model.answer = read_letter
    await shop.record(some(30, split="train") + some(60, split="held_out"))
    shop.model.coder.append(coder_answer(FAILS_WHEN_URGENT, TESTS))
    candidate_id = await shop.optimize()
    await shop.oversight.act(candidate_id, "promote-full", actor="ann", reason="in a hurry")
    await shop.send_all(some(80, start=9_000))
    await shop.daemon.run_cycle()
    live = shop.rollouts.in_traffic(APP, PARSE).baseline
    assert live is not None
    assert live.audit_share < 0.05
    urgent = some(3, "urgent {number} pears", start=500)
    for text in urgent:
        answer = await shop.send(text)
        assert answer.deoptimized == "exception"
    await shop.oversight.act(candidate_id, "rollback", actor="ann", reason="it fails")
    cases = await shop.store.regressions(APP, PARSE, shop.spec_hash())
    assert {case.case["input"]["text"] for case in cases if case.case} == set(urgent)
