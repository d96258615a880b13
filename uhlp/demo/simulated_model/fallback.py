"""Prompts that no task knows: an answer of the right form, made up from a digest of the prompt."""

import json
from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from uhlp import strict_json

_WORDS = ("amber", "birch", "copper", "delta", "ember", "fjord", "granite", "harbour", "indigo", "juniper", "kelp")
_MOST_DEPTH = 8


def made_up_answer(prompt: str, response_format: Any, *, seed: int) -> str:
    """JSON for the schema in `response_format` or in the prompt, else a sentence; the same for the same prompt."""
    dice = Random(f"{seed}/{prompt}")  # noqa: S311  made-up answers, no secret
    schema = _schema_of_format(response_format) or _schema_in(prompt)
    if schema is None:
        return f"This is a simulated model and it does not know this task: {' '.join(dice.sample(_WORDS, 3))}."
    return strict_json.dumps(_value(schema, schema, dice, 0)).decode()


def _schema_of_format(response_format: Any) -> dict[str, Any] | None:
    inner = response_format.get("json_schema") if isinstance(response_format, dict) else None
    schema = inner.get("schema") if isinstance(inner, dict) else None
    return schema if isinstance(schema, dict) else None


def _schema_in(prompt: str) -> dict[str, Any] | None:
    """The first JSON object in the text that looks like a schema."""
    return next((value for value in _objects(prompt) if _looks_like_schema(value)), None)


def _objects(text: str) -> Iterator[dict[str, Any]]:
    decoder = json.JSONDecoder()
    start = text.find("{")
    while start >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            end = start + 1
        else:
            if isinstance(value, dict):
                yield value
        start = text.find("{", end)


def _looks_like_schema(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("properties"), dict) or (value.get("type") == "string" and "enum" in value)


def _value(schema: Any, root: Mapping[str, Any], dice: Random, depth: int) -> Any:
    """A value of this schema, as far as ordinary schemas go."""
    if not isinstance(schema, dict) or depth > _MOST_DEPTH:
        return None
    if isinstance(schema.get("$ref"), str) and schema["$ref"].startswith("#/"):
        return _value(_at(root, schema["$ref"]), root, dice, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return dice.choice(schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if schema.get(choice):
            return _value(schema[choice][0], root, dice, depth + 1)
    kinds = schema.get("type", "object" if "properties" in schema else "string")
    kind = kinds[0] if isinstance(kinds, list) else kinds
    if kind == "object":
        return {name: _value(inner, root, dice, depth + 1) for name, inner in schema.get("properties", {}).items()}
    if kind == "array":
        count = min(max(int(schema.get("minItems", 1)), 1), 20)
        return [_value(schema.get("items", {}), root, dice, depth + 1) for _ in range(count)]
    return _scalar(str(kind), schema, dice)


def _scalar(kind: str, schema: Mapping[str, Any], dice: Random) -> Any:
    if kind in ("integer", "number"):
        least = int(schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1))
        most = int(schema.get("maximum", schema.get("exclusiveMaximum", least + 100) - 1))
        return dice.randint(least, max(least, most))
    if kind == "boolean":
        return dice.random() < 0.5
    if kind == "null":
        return None
    text = " ".join(dice.sample(_WORDS, 3)).ljust(int(schema.get("minLength", 0)), ".")
    return text[: int(schema.get("maxLength", len(text)))]


def _at(root: Any, reference: str) -> Any:
    for step in reference.removeprefix("#/").split("/"):
        root = root.get(step) if isinstance(root, dict) else None
    return root
