"""A schema is checked once, at registration, so that validation can be trusted on every request."""

from typing import Any

import pytest

from uhlp.errors import DefinitionInvalid
from uhlp.jsonschemas import check_schema, compile_validator

TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
    },
    "$ref": "#/$defs/node",
}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        TREE,
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"a/b": {"type": "null"}},
            "$ref": "#/definitions/a~1b",
        },
        {"$defs": {"a": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"},
        {
            "properties": {
                "$ref": {"type": "string"},
                "pattern": {"type": "string"},
                "enum": {"enum": [{"$ref": "http://x"}]},
            }
        },
        {"default": {"$ref": "http://example.com", "pattern": "("}},
        {"pattern": "^(?=.*[0-9])[a-z0-9]+$"},
    ],
)
def test_schemas_that_stand_alone_are_accepted(schema: dict[str, Any]) -> None:
    check_schema(schema, path="schemas/ticket.json")


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ({"type": "strin"}, "/type", "strin"),
        ({"properties": {"a": {"minLength": -1}}}, "/properties/a/minLength", "minimum"),
        ({"$schema": "https://example.com/own"}, "/$schema", "draft"),
        ({"$schema": 7}, "/$schema", "draft"),
        ({"items": {"$ref": "https://example.com/x.json"}}, "/items/$ref", "not local"),
        ({"items": {"$ref": "other.json#/a"}}, "/items/$ref", "not local"),
        ({"$ref": "#/$defs/nope"}, "/$ref", "points at nothing"),
        ({"anyOf": [{}], "$ref": "#/anyOf/²"}, "/$ref", "points at nothing"),
        ({"anyOf": [{}], "$ref": f"#/anyOf/{'9' * 5_000}"}, "/$ref", "points at nothing"),
        ({"properties": {"a/b": {"pattern": "("}}}, "/properties/a~1b/pattern", "does not compile"),
        ({"patternProperties": {"(?P<": {}}}, "/patternProperties/(?P<", "does not compile"),
        ({"pattern": "a" * 1_001}, "/pattern", "1001 characters"),
        ({"pattern": "((a{1,1000}){1,1000}){1,1000}"}, "/pattern", "too large"),
        ({"properties": {"a": {"$id": "https://example.com/"}}}, "/properties/a/$id", "root"),
        ({"description": "x" * 300_000}, "", "bytes long"),
        ({"default": object()}, "", "not JSON"),
    ],
)
def test_other_schemas_are_refused_with_the_place_and_the_reason(
    schema: dict[str, Any], path: str, message: str
) -> None:
    with pytest.raises(DefinitionInvalid) as refusal:
        check_schema(schema, path="schemas/ticket.json")
    problem = refusal.value.details["problems"][0]
    assert problem["path"] == path
    assert message in problem["message"]
    assert refusal.value.message.startswith("schemas/ticket.json")


def test_a_schema_that_nests_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "integer"}
    for _ in range(100):
        schema = {"items": schema}
    with pytest.raises(DefinitionInvalid, match="nests deeper"):
        check_schema(schema, path="x")


def test_references_that_double_at_every_step_are_refused() -> None:
    definitions: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(40)
    }
    definitions["a40"] = {"type": "integer"}
    with pytest.raises(DefinitionInvalid, match="expand"):
        check_schema({"$defs": definitions, "$ref": "#/$defs/a0"}, path="x")


def test_a_chain_of_references_without_end_is_refused() -> None:
    definitions: dict[str, Any] = {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(5_000)}
    definitions["a5000"] = {}
    with pytest.raises(DefinitionInvalid, match="expand"):
        check_schema({"$defs": definitions, "$ref": "#/$defs/a0"}, path="x")


def test_what_is_accepted_compiles_and_recursion_ends() -> None:
    check_schema(TREE, path="x")
    validator = compile_validator(TREE)
    assert validator.is_valid({"children": [{"children": []}]})
    assert validator.problems({"children": [{"children": [1]}]})[0]["path"] == "/children/0/children/0"


def test_alternatives_that_would_cost_seconds_on_any_larger_value_are_refused() -> None:
    with pytest.raises(DefinitionInvalid, match="looks at one value"):
        check_schema({"items": {"anyOf": [{"const": {"kind": n}} for n in range(4_000)]}}, path="x")
    check_schema({"properties": {"kind": {"enum": [f"kind {n}" for n in range(5_000)]}}}, path="x")
