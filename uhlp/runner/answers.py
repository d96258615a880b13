"""How an execution ends: a result type of the execute response and its data.

What a handler returns must be plain JSON: finite numbers of at most 64 bits, text keys, at most 10 MiB.
The runner always answers `generic` data; the host, which knows the component's expectedResultFormat, reads it as such.
"""

import math
from dataclasses import dataclass
from typing import Any

import orjson

RESULT_LIMIT_BYTES = 10 * 1024 * 1024
MESSAGE_LIMIT = 2_000
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_dumps, _Fragment = orjson.dumps, orjson.Fragment


@dataclass(frozen=True, slots=True)
class Answer:
    """`resultType` and `data` of an execute response."""

    result_type: str
    data: Any


def error(code: str, message: str, **details: Any) -> Answer:
    """An error with UHLP's code; details are left out when empty."""
    data: dict[str, Any] = {"code": code, "message": message[:MESSAGE_LIMIT]}
    if details:
        data["details"] = details
    return Answer("error", data)


def deoptimize(reason: str) -> Answer:
    """The handler was not built for this input."""
    return Answer("deoptimize", {"reason": str(reason)[:MESSAGE_LIMIT]})


def generic(value: Any) -> Answer:
    """A result, or OUTPUT_INVALID when it is not strict JSON."""
    try:
        body = _dumps(value, option=_STRICT)
    except (TypeError, ValueError, RecursionError) as problem:
        return error("OUTPUT_INVALID", f"The result is not JSON: {problem}")
    if len(body) > RESULT_LIMIT_BYTES:
        return error("OUTPUT_INVALID", f"The result has {len(body)} bytes; the limit is {RESULT_LIMIT_BYTES}.")
    if b"null" in body and not _is_finite(value):  # orjson writes NaN and Infinity as null
        return error("OUTPUT_INVALID", "The result holds NaN or Infinity.")
    return Answer("generic", _Fragment(body))


def _is_finite(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float):
            if not math.isfinite(item):
                return False
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple):
            waiting.extend(item)
    return True
