"""Strict JSON: one reading of a body, or a clear refusal (design "Bad input"; RFC 8259 and I-JSON).

Refused, always as `MalformedJson`: NaN and Infinity, numbers beyond a double (1e9999), lone surrogates, duplicate
keys, nesting deeper than `max_depth`, bad UTF-8 or a byte order mark, an empty body. Numbers are Python ints up to
64 bits and floats beyond, as orjson reads them.
"""

from math import isfinite
from typing import Any

import jiter
import orjson

from uhlp.errors import MalformedJson

DEEPEST = 200
"""The largest `max_depth`: jiter nests no deeper."""


def loads(raw: bytes, *, max_depth: int = 64, subject: str = "The body") -> Any:
    """The value of one JSON text. `max_depth` counts nested arrays and objects, at most `DEEPEST`.

    Raises MalformedJson, whose message says of `subject` what is wrong and where.
    """
    try:
        value = orjson.loads(raw)  # the strict reader; it stops at depth 1,024 and lets the last of equal keys win
        brackets = raw.count(b"[") + raw.count(b"{")
        if brackets == 1 and type(value) is dict and len(value) == raw.count(b":"):
            return value  # nothing nests: a name that came twice would leave a colon over, as do colons in strings
        if brackets > max_depth and type(value) in (dict, list):
            names = _names_within(value, max_depth)
            if names is None:
                raise MalformedJson(f"{subject} is not strict JSON: it nests deeper than {max_depth} levels.")
            if names == raw.count(b":"):
                return value
        # its cache would keep thousands of texts out of bodies for good, and what it makes is not used
        jiter.from_json(raw, catch_duplicate_keys=True, cache_mode="none")
    except ValueError as error:
        raise MalformedJson(f"{subject} is not strict JSON: {error}.") from None
    return value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; NaN and infinities become null. Raises TypeError for what JSON cannot hold."""
    return orjson.dumps(value)


def canonical(value: Any) -> bytes:
    """One byte string per JSON value, for hashing and equality: sorted keys, no spaces, 1.0 as 1; true is not 1.

    Takes values as `loads` returns them. Raises MalformedJson for NaN and infinities.
    """
    return orjson.dumps(_with_one_spelling(value), option=orjson.OPT_SORT_KEYS)


def _names_within(value: Any, max_depth: int) -> int | None:
    """How many names the objects have together; None when arrays and objects nest deeper than `max_depth`."""
    names, level = 0, [value]
    for _ in range(max_depth):
        names += sum([len(node) for node in level if type(node) is dict])
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return names
    return None


def _with_one_spelling(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_one_spelling(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_one_spelling(item) for item in value]
    if isinstance(value, float):
        if not isfinite(value):
            raise MalformedJson("JSON has no NaN and no Infinity.")
        return int(value) if value.is_integer() and -(2**63) <= value < 2**64 else value
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return float(value)
    return value
