"""A component's input from an HTTP request (contracts §4): body fields, then query, then path parameters."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from uhlp import strict_json
from uhlp.errors import BadInput, InputInvalid, MalformedJson

MOST_QUERY_FIELDS = 1_000


def assemble_input(
    *,
    body: bytes,
    content_type: bytes | None,
    query: bytes,
    path_params: Mapping[str, str],
    types: Mapping[str, str],
) -> dict[str, Any]:
    """One JSON object. `types` maps top-level properties to their JSON Schema scalar type, for coercion.

    Raises MalformedJson, BadInput for a query that cannot be read, InputInvalid for a body that is no object and
    for a name that is given twice with different values.
    """
    fields = _body_fields(body, content_type) if body else {}
    if query:
        _merge(fields, _query_fields(query), types, "query")
    if path_params:
        _merge(fields, path_params, types, "path")
    return fields


def is_json(content_type: bytes | None) -> bool:
    """application/json or a +json type, whatever its parameters."""
    if content_type is None:
        return False
    if content_type == b"application/json":
        return True
    essence = content_type.partition(b";")[0].strip().lower()
    return essence == b"application/json" or (essence.startswith(b"application/") and essence.endswith(b"+json"))


def coerce(text: str, type_name: str | None) -> Any:
    """`text` as the scalar type of the schema; unchanged when it does not read as one (validation then says so)."""
    if type_name == "integer":
        digits = text[1:] if text.startswith("-") else text
        return int(text) if digits.isascii() and digits.isdigit() and len(digits) <= 18 else text
    if type_name == "number" and not text[:1].isspace():
        try:
            number = strict_json.loads(text.encode())
        except (MalformedJson, UnicodeEncodeError):
            return text
        return number if isinstance(number, int | float) and not isinstance(number, bool) else text
    if type_name == "boolean":
        return {"true": True, "false": False}.get(text, text)
    return text


def _body_fields(body: bytes, content_type: bytes | None) -> dict[str, Any]:
    if is_json(content_type):
        value = strict_json.loads(body)
        if isinstance(value, dict):
            return value
        problem = {"path": "", "message": f"The body must be a JSON object, not {_json_type(value)}."}
        raise InputInvalid(problem["message"], details={"problems": [problem]})
    try:
        return {"body": body.decode("utf-8"), "bodyEncoding": "utf8"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(body).decode("ascii"), "bodyEncoding": "base64"}


def _query_fields(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_QUERY_FIELDS
        )
    except ValueError:
        raise BadInput("The query string is not readable: percent-encoded UTF-8 is expected.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if fields.setdefault(name, value) != value:
            raise _given_twice(name, "query")
    return fields


def _merge(fields: dict[str, Any], more: Mapping[str, str], types: Mapping[str, str], where: str) -> None:
    for name, text in more.items():
        value = coerce(text, types.get(name))
        if name in fields:
            known = fields[name]
            if known != value or isinstance(known, bool) is not isinstance(value, bool):
                raise _given_twice(name, where)
        else:
            fields[name] = value


def _given_twice(name: str, where: str) -> InputInvalid:
    problem = {"path": f"/{name}", "message": f"Given twice with different values, the second time in the {where}."}
    return InputInvalid(f"`{name}` is given twice with different values.", details={"problems": [problem]})


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    return {list: "an array", str: "a string", bool: "a boolean"}.get(type(value), "a number")
