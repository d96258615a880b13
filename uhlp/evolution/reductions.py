"""Smaller forms of a JSON value, for minimising an input that a handler gets wrong (delta debugging, Zeller 2002).

Fields are dropped, lists lose runs of elements, texts lose runs of words or, of a single word, of characters: halves
first, then quarters, down to one. Numbers, keys and the kinds of values stay as they are, so that what remains still
looks like an input of its component.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from uhlp import strict_json

T = TypeVar("T")
_WORD = re.compile(r"\S+\s*|\s+")


def reductions(value: Any) -> Iterator[Any]:
    """Every smaller form that is one step away; those that take most away come first within each part."""
    if isinstance(value, dict):
        by_size = sorted(value, key=lambda key: len(strict_json.dumps(value[key])), reverse=True)
        for key in by_size:
            yield {name: member for name, member in value.items() if name != key}
        for key in by_size:
            for smaller in reductions(value[key]):
                yield {name: smaller if name == key else member for name, member in value.items()}
    elif isinstance(value, list):
        for fewer in _with_runs_removed(value):
            yield list(fewer)
        for place, element in enumerate(value):
            for smaller in reductions(element):
                yield [*value[:place], smaller, *value[place + 1 :]]
    elif isinstance(value, str):
        words = _WORD.findall(value)
        parts: Sequence[str] = words if len(words) > 1 else value
        for fewer_parts in _with_runs_removed(parts):
            yield "".join(fewer_parts).strip() if len(words) > 1 else "".join(fewer_parts)


def _with_runs_removed(parts: Sequence[T]) -> Iterator[Sequence[T]]:
    """All of `parts` but one run: of half its length, a quarter, … one. Never nothing at all."""
    run = (len(parts) + 1) // 2
    while run and len(parts) > 1:
        for start in range(0, len(parts), run):
            fewer = [*parts[:start], *parts[start + run :]]
            if fewer:
                yield fewer
        run = run // 2
