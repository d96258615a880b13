"""Functions that workflow expressions have beside the library's: texts, as CEL's string extension names them.

`_size` stands for `size`: the library counts bytes of a text, CEL its characters. A function raises for what it cannot
take; the expression fails then.
"""

from collections.abc import Callable
from typing import Any

_LONGEST_SEPARATOR = 8
MOST_PIECES = 1_000


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is wanted")
    return value


def _size(value: Any) -> int:
    if not isinstance(value, str | bytes | list | dict):
        raise TypeError("a text, list or map is wanted")
    return len(value)


def _string(value: Any) -> str:
    if not isinstance(value, bool):
        raise TypeError("a scalar is wanted")
    return "true" if value else "false"


def _translated(value: Any, first: str, last: str, by: int) -> str:
    return "".join(chr(ord(char) + by) if first <= char <= last else char for char in _text(value))


def _split(value: Any, separator: Any) -> list[str]:
    pieces = _text(value).split(_text(separator), MOST_PIECES) if separator else list(_text(value)[: MOST_PIECES + 1])
    if len(pieces) > MOST_PIECES:
        raise ValueError(f"a text is split into at most {MOST_PIECES} pieces")
    return pieces


def _join(values: Any, separator: Any = "") -> str:
    if len(_text(separator)) > _LONGEST_SEPARATOR:
        raise ValueError(f"a separator has at most {_LONGEST_SEPARATOR} characters")
    return _text(separator).join(_text(value) for value in values)


def _substring(value: Any, start: Any, end: Any = None) -> str:
    text = _text(value)
    stop = len(text) if end is None else end
    if not 0 <= start <= stop <= len(text):
        raise ValueError("the text has no such part")
    return text[int(start) : int(stop)]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_size": _size,
    "string": _string,
    "lowerAscii": lambda value: _translated(value, "A", "Z", 32),
    "upperAscii": lambda value: _translated(value, "a", "z", -32),
    "trim": lambda value: _text(value).strip(),
    "split": _split,
    "join": _join,
    "substring": _substring,
}
