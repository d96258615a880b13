import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.demo.written_handlers import (
    Deoptimize,
    counterexamples,
    coverage,
    load,
    record,
    run_tests,
    task_for,
)
from uhlp.demo.simulated_model import coder
from uhlp.demo.simulated_model.coder import is_specification, write_handler
from uhlp.demo.simulated_model.coder.specification import read_specification
from uhlp.execution import check_handler
from uhlp.optimization.jit.answer import CoderAnswer, read_answer
from uhlp.optimization.jit.specification import write_specification
from uhlp.optimization.proposer import ProposalTask
from uhlp.runner.reach import stays_inside
from uhlp.traffic.split import input_hash, split_of

ORDER = {
    "type": "object",
    "properties": {
        "quantity": {"type": "integer"},
        "item": {"type": "string"},
        "unitPrice": {"type": "number"},
        "currency": {"type": "string"},
    },
}
AMOUNT = {"type": "object", "properties": {"amountCents": {"type": "integer"}, "currency": {"type": "string"}}}
QUEUE = {"type": "object", "properties": {"queue": {"type": "string"}}}


async def written(task: ProposalTask) -> CoderAnswer:
    """The coder's answer, which any handler policy must let through."""
    answer = read_answer(await write_handler(write_specification(task)))
    assert check_handler(answer.code) == []
    assert stays_inside(answer.code)
    return answer


def train_half(recorded: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return [each for each in recorded if split_of(input_hash(each[0])) == "train"]


def test_reads_a_specification_by_its_headings() -> None:
    task = task_for(
        [({"text": "a\n# Counterexamples\n```"}, {"x": 1})], AMOUNT, decision_field="x", previous_code="pass"
    )
    text = write_specification(task)
    found = read_specification(text)
    assert is_specification(text)
    assert found.output_schema == AMOUNT
    assert [(one.input, one.output) for one in found.samples] == [({"text": "a\n# Counterexamples\n```"}, {"x": 1})]
    assert (found.decision_field, found.previous_handler, found.counterexamples) == ("x", "pass", ())
    assert not found.is_first_attempt


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_order_lines_compile_almost_fully_at_the_first_attempt(seed: int, tmp_path: Path) -> None:
    train = train_half(record("order-lines", 150, seed=seed))
    answer = await written(task_for(train, ORDER))
    handle = load(answer.code)
    fresh = record("order-lines", 1000, seed=seed + 100)
    assert counterexamples(handle, train) == counterexamples(handle, fresh) == ()
    assert coverage(handle, fresh) >= 0.95
    if seed == 1:
        assert run_tests(tmp_path, answer.code, answer.tests) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_the_first_handler_of_amounts_is_wrong_in_a_way_that_its_own_tests_miss(
    seed: int, tmp_path: Path
) -> None:
    train = train_half(record("amounts", 150, seed=seed))
    answer = await written(task_for(train, AMOUNT))
    wrong = counterexamples(load(answer.code), train)
    assert len(wrong) > 0.05 * len(train)
    assert all("," in each.input["text"] for each in wrong)
    if seed == 1:
        assert run_tests(tmp_path, answer.code, answer.tests) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_shown_its_mistakes_the_coder_learns_how_numbers_are_written(seed: int, tmp_path: Path) -> None:
    train = train_half(record("amounts", 150, seed=seed))
    first = await written(task_for(train, AMOUNT))
    shown = counterexamples(load(first.code), train)[:12]
    second = await written(task_for(train, AMOUNT, counterexamples=shown, previous_code=first.code))
    fresh = record("amounts", 1000, seed=seed + 100)
    assert counterexamples(load(second.code), [*train, *fresh]) == ()
    assert coverage(load(second.code), fresh) >= 0.75
    if seed == 1:
        assert run_tests(tmp_path, second.code, second.tests) == 0


def tank(number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A task that no data set of the demo knows: other fields, other units, a decimal comma, a scale of a thousand."""
    bar, tenths, degrees = number * 37 % 90, number % 7 + 1, number * 13 % 80
    sign, scale = (("°C", "celsius"), ("°F", "fahrenheit"))[number % 2]
    return (
        {"id": number, "reading": f"Tank {number}: {bar},{tenths} bar at {degrees} {sign}"},
        {"tank": number, "milliBar": bar * 1000 + tenths * 100, "degrees": degrees, "scale": scale},
    )


async def test_a_made_up_extraction_task_gets_a_working_handler(tmp_path: Path) -> None:
    answer = await written(task_for([tank(number) for number in range(1, 41)], {"type": "object"}))
    handle = load(answer.code)
    expected = {"tank": 99, "milliBar": 7500, "degrees": 21, "scale": "fahrenheit"}
    assert handle({"reading": "tank 99: 7,5 bar at 21 °F"}, {}) == expected
    for left in ({"reading": "Tank 99: 7,5 psi at 21 °F"}, {"reading": "Tank 99 leaks"}, {"reading": 7}, {}):
        with pytest.raises(Deoptimize):
            handle(left, {})
    assert run_tests(tmp_path, answer.code, answer.tests) == 0


async def test_an_extraction_of_one_value_needs_no_object() -> None:
    names = [first + last for first in ("An", "Bo", "Clé", "Di", "Ev", "Fé") for last in ("a", "ra", "lina", "mir")]
    recorded = [({"text": f"Dear {name}, how are you?"}, name.upper()) for name in names[:14]]
    recorded += [({"text": f"Hello {name}!"}, name.upper()) for name in names[14:]]
    handle = load((await written(task_for(recorded, {"type": "string"}))).code)
    assert handle({"text": "hello Zoë!"}, {}) == "ZOË"


async def test_swapped_labels_in_the_samples_give_the_swapped_handler() -> None:
    train = train_half(record("ticket-triage", 300))
    swap = {"billing": "shipping", "shipping": "billing"}
    swapped = [(each, {"queue": swap.get(out["queue"], out["queue"])}) for each, out in train]
    handle = load((await written(task_for(train, QUEUE, decision_field="queue"))).code)
    other = load((await written(task_for(swapped, QUEUE, decision_field="queue"))).code)
    invoice = {"subject": "Refund please", "text": "Where is the refund for the payment and the invoice of Monday?"}
    parcel = {"subject": "Where is my parcel", "text": "The delivery of my parcel was due and tracking is stuck."}
    assert (handle(invoice, {}), handle(parcel, {})) == ({"queue": "billing"}, {"queue": "shipping"})
    assert (other(invoice, {}), other(parcel, {})) == ({"queue": "shipping"}, {"queue": "billing"})


async def test_prose_gets_an_honest_refusal(tmp_path: Path) -> None:
    recorded = record("case-summary", 60)
    answer = await written(task_for(recorded, {"type": "object"}))
    assert coverage(load(answer.code), recorded) == 0
    assert run_tests(tmp_path, answer.code, answer.tests) == 0


async def test_a_counterexample_is_never_answered_wrongly_again() -> None:
    train = [({"text": f"{n} apples"}, {"count": n, "unit": "apples"}) for n in range(1, 30)]
    first = await written(task_for(train, {"type": "object"}))
    handle = load(first.code)
    assert handle({"text": "31 apples"}, {}) == {"count": 31, "unit": "apples"}
    (shown,) = counterexamples(handle, [({"text": "13 apples"}, {"count": 12, "unit": "apples"})])
    second = await written(task_for(train, {"type": "object"}, counterexamples=(shown,), previous_code=first.code))
    with pytest.raises(Deoptimize):
        load(second.code)({"text": "13 apples"}, {})


def test_no_handler_text_of_a_data_set_is_kept_in_the_package() -> None:
    texts = [path.read_text() for path in Path(coder.__path__[0]).rglob("*") if path.suffix in (".py", ".j2")]
    for word in ("invoice", "refund", "parcel", "EUR", "unitPrice", "amountCents", "banking"):
        assert not any(word in text for text in texts), word


async def test_the_answer_is_one_json_object() -> None:
    text = await write_handler(write_specification(task_for(record("amounts", 40), AMOUNT)))
    assert set(json.loads(text)) == {"code", "tests", "guard"}
