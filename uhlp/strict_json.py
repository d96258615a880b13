"""Strict JSON: one reading of a body, or a clear refusal (design "Bad input"; RFC 8259 and I-JSON).

Refused, always as `MalformedJson`: NaN and Infinity, numbers beyond a double (1e9999), lone surrogates, duplicate
keys, nesting deeper than `max_depth`, bad UTF-8 or a byte order mark, an empty body. Numbers are Python ints up to
64 bits and floats beyond, as orjson reads them.
"""

import re
from math import isfinite
from typing import Any

import jiter
import orjson

from uhlp.errors import MalformedJson

DEEPEST = 200
"""The largest `max_depth`: jiter nests no deeper."""

# An unterminated string matches to the end of the text, so the scan is linear for any input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_AS_PARENTHESES = bytes.maketrans(b"[{]}", b"(())")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def loads(raw: bytes, *, max_depth: int = 64) -> Any:
    """The value of one JSON text. `max_depth` counts nested arrays and objects, at most `DEEPEST`.

    Raises MalformedJson, whose message says what is wrong and where.
    """
    if raw.count(b"[") + raw.count(b"{") > max_depth and _nests_deeper(raw, max_depth):
        raise MalformedJson(f"The body is not strict JSON: it nests deeper than {max_depth} levels.")
    try:
        value = orjson.loads(raw)  # the strict reader; it lets the last of several equal keys win
        jiter.from_json(raw, catch_duplicate_keys=True)
    except ValueError as error:
        raise MalformedJson(f"The body is not strict JSON: {error}.") from None
    return value


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON; NaN and infinities become null. Raises TypeError for what JSON cannot hold."""
    return orjson.dumps(value)


def canonical(value: Any) -> bytes:
    """One byte string per JSON value, for hashing and equality: sorted keys, no spaces, 1.0 as 1; true is not 1.

    Takes values as `loads` returns them. Raises MalformedJson for NaN and infinities.
    """
    return orjson.dumps(_with_one_spelling(value), option=orjson.OPT_SORT_KEYS)


def _nests_deeper(raw: bytes, max_depth: int) -> bool:
    """Whether brackets outside strings nest beyond `max_depth`; each pass removes at least the innermost level."""
    brackets = _STRING.sub(b"", raw).translate(_AS_PARENTHESES, _NO_BRACKETS)
    for _ in range(max_depth):
        if not brackets:
            return False
        brackets = brackets.replace(b"()", b"")
    # What is left is either nested too deep or not balanced, which the parser explains better.
    return b"()" in brackets or brackets.count(b"(") > max_depth


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
