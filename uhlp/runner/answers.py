"""How an execution ends: a result type of the execute response and its data.

What a handler returns must be plain JSON: finite numbers of at most 64 bits, text keys, at most 10 MiB and 100,000
values.
The runner always answers `generic` data; the host, which knows the component's expectedResultFormat, reads it as such.
"""

import math
import resource
from dataclasses import dataclass
from typing import Any

import orjson

RESULT_LIMIT_BYTES = 10 * 1024 * 1024
RESULT_LIMIT_VALUES = 100_000
"""The host reads no more (its value_count.MAX_VALUES has room for what goes around a result)."""
MESSAGE_LIMIT = 2_000
NAME_LIMIT = 200
_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS
_ITEM_BYTES, _FIELD_BYTES, CHARACTER_BYTES = 320, 640, 16
"""What orjson sets aside at once for each item of a list, field of an object and character of a string, at most;
measured on 3.13."""
_MUCH_BYTES = 4 * 1024 * 1024
_dumps, _Fragment = orjson.dumps, orjson.Fragment
_type_name = type.__dict__["__name__"].__get__


@dataclass(frozen=True, slots=True)
class Answer:
    """`resultType` and `data` of an execute response."""

    result_type: str
    data: Any


def error(code: str, message: str, **details: Any) -> Answer:
    """An error with UHLP's code; details are left out when empty."""
    data: dict[str, Any] = {"code": said(code), "message": said(message)}
    if details:
        data["details"] = details
    return Answer("error", data)


def deoptimize(reason: object) -> Answer:
    """The handler was not built for this input."""
    return Answer("deoptimize", {"reason": said(reason)})


def said(words: object, limit: int = MESSAGE_LIMIT) -> str:
    """Words of generated code, cut, in characters that can be sent; only their type when they cannot be had."""
    try:
        return sendable(str.__getitem__(str(words), slice(limit)))
    except BaseException:  # a __str__ that fails
        return name_of_type(words)


def name_of_type(value: object) -> str:
    """The name of a value's class, cut, in characters that can be sent, past all that the class says of itself."""
    return sendable(_type_name(type(value))[:NAME_LIMIT])


def sendable(text: str) -> str:
    """`text` with a question mark for each character that UTF-8 has no bytes for (a lone surrogate)."""
    return str.encode(text, "utf-8", "replace").decode()


def generic(value: Any) -> Answer:
    """A result, OUTPUT_INVALID when it is not strict JSON, too large or of too many values, or SANDBOX_OUT_OF_MEMORY.

    Where memory runs out orjson ends the process, so what is large is measured before it is written.
    """
    try:
        needed_bytes = _needed_bytes(value)
        if needed_bytes > _MUCH_BYTES and needed_bytes > free_bytes():
            return error("SANDBOX_OUT_OF_MEMORY", "The handler used more memory than its pool allows.")
        body = _dumps(value, option=_STRICT)
    except (TypeError, ValueError, RecursionError) as problem:
        return error("OUTPUT_INVALID", f"The result is not JSON: {problem}")
    if len(body) > RESULT_LIMIT_BYTES:
        return error("OUTPUT_INVALID", f"The result has {len(body)} bytes; the limit is {RESULT_LIMIT_BYTES}.")
    return Answer("generic", _Fragment(body))


def _needed_bytes(value: Any) -> int:
    """What orjson will set aside at once to write `value`.

    Raises ValueError for NaN and Infinity, which orjson would write as null, for more values than the limit, and for
    what takes more bytes than the limit for sure (an item takes at least two): cycles among them.
    """
    needed_bytes = size_bytes = values = 0
    waiting = [(value,)]
    while waiting:
        items = waiting.pop()
        size_bytes += 2 * len(items)
        values += len(items) or 1
        for item in items:
            kind = type(item)
            if kind is str:
                size_bytes += len(item)
                if len(item) * CHARACTER_BYTES > needed_bytes:
                    needed_bytes = len(item) * CHARACTER_BYTES
            elif kind is dict:
                needed_bytes = max(needed_bytes, len(item) * _FIELD_BYTES)
                waiting.append(item.values())
            elif kind is list or kind is tuple:
                needed_bytes = max(needed_bytes, len(item) * _ITEM_BYTES)
                waiting.append(item)
            elif kind is float and not math.isfinite(item):
                raise ValueError("it holds NaN or Infinity")
        if size_bytes > RESULT_LIMIT_BYTES + 2:
            raise ValueError(f"it has more than {RESULT_LIMIT_BYTES} bytes")
        if values > RESULT_LIMIT_VALUES + 1:
            raise ValueError(
                f"it holds more than {RESULT_LIMIT_VALUES} values (items and fields); "
                "return fewer, or put them into one text"
            )
    return needed_bytes


def free_bytes() -> float:
    """What this process may still map."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return math.inf
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - no pathlib in a worker
        return limit - int(file.read().split()[0]) * resource.getpagesize()
