"""Undeclared text: prose is told from words that mean the same whenever they are written."""

from typing import Any

import pytest

from uhlp.evals.dataset import Sample
from uhlp.evals.undeclared_text import undeclared_text


def prose(number: int) -> str:
    return f"The caller of case {number} wants to know when the parcel will arrive."


def samples(*expected: Any) -> list[Sample]:
    return [Sample(id=str(n), input={"text": f"notes {n}"}, expected=value) for n, value in enumerate(expected)]


@pytest.mark.parametrize(
    ("shape", "field"),
    [
        (lambda n: {"queue": "billing", "summary": prose(n)}, "summary"),
        (lambda n: {"case": {"steps": [prose(n), prose(n + 500)]}}, "case.steps[]"),
        (lambda n: prose(n), "$"),
    ],
)
def test_texts_that_are_long_and_never_alike_are_prose(shape: Any, field: str) -> None:
    assert undeclared_text(samples(*map(shape, range(20))), {}) == field


@pytest.mark.parametrize(
    "shape",
    [
        lambda n: {"queue": "billing", "order": f"A-{n}", "lines": n},
        lambda n: {"reply": prose(n % 3)},
        lambda n: {"amount": n, "ok": True, "none": None},
        lambda n: [],
    ],
)
def test_names_numbers_and_texts_that_come_again_are_none(shape: Any) -> None:
    assert undeclared_text(samples(*map(shape, range(20))), {}) is None


def test_what_is_copied_from_the_input_is_none() -> None:
    copied = [Sample(id=str(n), input={"mail": f"Hello. {prose(n)} Bye."}, expected=prose(n)) for n in range(20)]
    assert undeclared_text(copied, {}) is None


def test_a_few_answers_say_nothing() -> None:
    assert undeclared_text(samples(*map(prose, range(9))), {}) is None


@pytest.mark.parametrize("path", ["$", "case", "case.note"])
@pytest.mark.parametrize("policy", ["exact", "free_text"])
def test_what_its_owner_has_said_something_of_is_as_they_say(path: str, policy: str) -> None:
    told = samples(*({"case": {"note": prose(n)}} for n in range(20)))
    assert undeclared_text(told, {}) == "case.note"
    assert undeclared_text(told, {path: policy}) is None
    assert undeclared_text(told, {"case.notes": policy, "other": policy}) == "case.note"
