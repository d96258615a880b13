"""Validators answer with a pointer and a sentence."""

import pytest

from uhlp.jsonschemas import compile_validator

TICKET = compile_validator(
    {
        "type": "object",
        "properties": {
            "lines": {"type": "array", "items": {"type": "integer"}},
            "a/b": {"enum": ["x", "y"]},
            "note": {"type": "string", "pattern": "^[^<]*$"},
        },
        "required": ["lines"],
        "additionalProperties": False,
    }
)


def test_a_matching_value_has_no_problems() -> None:
    value = {"lines": [1, 2], "a/b": "x", "note": "ok"}
    assert TICKET.problems(value) == []
    assert TICKET.is_valid(value)


def test_every_problem_names_its_place() -> None:
    problems = TICKET.problems({"lines": [1, "2"], "a/b": "q", "extra": 1})
    assert {problem["path"]: problem["message"] for problem in problems} == {
        "/lines/1": '"2" is not of type "integer"',
        "/a~1b": '"q" is not one of "x" or "y"',
        "": "Additional properties are not allowed ('extra' was unexpected)",
    }
    assert not TICKET.is_valid({})


def test_problems_are_few_and_short() -> None:
    problems = TICKET.problems({"lines": ["x" * 10_000] * 1_000})
    assert len(problems) == 20
    assert all(len(problem["message"]) <= 300 for problem in problems)


@pytest.mark.parametrize("value", [{"lines": {1, 2}}, {1: 2}, {"note": "\ud800"}, object()])
def test_what_is_not_json_is_a_problem_and_no_exception(value: object) -> None:
    assert not TICKET.is_valid(value)
    assert TICKET.problems(value)


def test_a_hostile_pattern_is_bounded() -> None:
    hostile = compile_validator({"pattern": r"^(?=(a+)+$)(a|aa)+\1$"})
    assert not hostile.is_valid("a" * 5_000 + "!")


def test_whole_floats_are_integers_and_booleans_are_not_numbers() -> None:
    assert compile_validator({"type": "integer"}).is_valid(1.0)
    assert not compile_validator({"const": 1}).is_valid(True)
