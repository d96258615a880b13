"""A schema that fits the values seen: enough to tell a coder what goes in and comes out."""

from collections.abc import Sequence
from typing import Any

MOST_ENUM_VALUES = 20
_ENUM_SHARE = 0.2

_TYPES: dict[type, str] = {
    dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null",
}  # fmt: skip


def schema_of(values: Sequence[Any]) -> dict[str, Any]:
    """JSON Schema of `values`: types, properties (required when always there), an enum where few strings repeat."""
    types = sorted({_TYPES[type(value)] for value in values})
    if types == ["integer", "number"]:
        types = ["number"]
    if len(types) != 1:
        return {"type": types} if types else {}
    if types == ["object"]:
        names = sorted({name for value in values for name in value})
        properties = {name: schema_of([value[name] for value in values if name in value]) for name in names}
        required = [name for name in names if all(name in value for value in values)]
        return {"type": "object", "properties": properties, "required": required}
    if types == ["array"]:
        return {"type": "array", "items": schema_of([item for value in values for item in value])}
    schema: dict[str, Any] = {"type": types[0]}
    if types == ["string"]:
        distinct = sorted(set(values))
        if len(distinct) <= MOST_ENUM_VALUES and len(distinct) <= _ENUM_SHARE * len(values):
            schema["enum"] = distinct
    return schema
