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
    problems = TICKET.problems({"lines": ["x" * 1_000] * 30})
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


LINES_OF_OBJECTS = {"properties": {"a": {"type": "array", "items": {"type": "object", "required": ["q"]}}}}
TREE = {
    "$defs": {
        "node": {
            "anyOf": [
                {"type": "object", "properties": {"in": {"$ref": "#/$defs/node"}}, "required": ["in"]},
                {"type": "object", "properties": {"in": {"$ref": "#/$defs/node"}}, "minProperties": 1},
                {"type": "string"},
            ]
        }
    },
    "$ref": "#/$defs/node",
}


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = {"in": value}
    return value


def test_of_a_large_value_one_problem_is_told_with_its_place() -> None:
    problems = compile_validator(LINES_OF_OBJECTS).problems({"a": [{}] * 1_000_000})
    assert problems == [{"path": "/a/0", "message": '"q" is a required property'}]


def test_errors_that_double_at_every_level_are_not_made() -> None:
    tree = compile_validator(TREE)
    assert tree.problems(nested(60)) == [
        {"path": "", "message": "does not match the schema, and is too large to say where"}
    ]
    assert tree.problems({"in": 1})[0]["path"] == ""
    assert tree.problems({"in": {"in": "leaf"}}) == []


def test_a_large_value_is_refused_where_alternatives_would_cost_seconds() -> None:
    many = compile_validator({"items": {"anyOf": [{"const": number} for number in range(2_000)]}})
    assert many.problems([1_999] * 500) == []
    assert not many.is_valid([1_999] * 100_000)
    assert "too many for this schema's alternatives" in many.problems([1_999] * 100_000)[0]["message"]
    assert not compile_validator({"anyOf": [{"pattern": f"(?=x){n}"} for n in range(20)]}).is_valid("x" * 9_000_000)


def test_optional_fields_do_not_limit_how_many_rows_may_come() -> None:
    field = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    rows = compile_validator({"items": {"properties": {f"f{n}": field for n in range(60)}}})
    row = {f"f{n}": None for n in range(60)}
    assert rows.is_valid([row] * 20_000)
    assert rows.problems([row] * 20_000 + [{"f7": 1}])[0]["path"] == "/20000/f7"
