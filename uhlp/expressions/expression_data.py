"""What goes into an expression and what comes out of it: the parts it names, within bounds, and strict JSON."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

MOST_UNITS = 1_000_000
"""How much data one expression takes: 32 for each value, 1 for each character. About 50 ms of conversion."""

DEEPEST = 200
UNITS_OF_A_VALUE = 32


class UnfitData(Exception):
    """Data that an expression cannot take, or a result that is no JSON; the message says which."""


def weigh(value: Any) -> tuple[int, int]:
    """How much a JSON value weighs, and the length of the longest list or map in it.

    Raises UnfitData beyond MOST_UNITS and below DEEPEST levels.
    """
    units, longest, level = 0, 0, [value]
    for _ in range(DEEPEST):
        below: list[Any] = []
        for node in level:
            units += UNITS_OF_A_VALUE
            if type(node) is str:
                units += len(node)
            elif isinstance(node, dict):
                units += sum(len(key) for key in node)
                longest = max(longest, len(node))
                below.extend(node.values())
            elif isinstance(node, list | tuple):
                longest = max(longest, len(node))
                below.extend(node)
            elif type(node) is int and not -(2**63) <= node < 2**64:
                raise UnfitData("it names a number beyond 64 bits")
            if units + len(below) * UNITS_OF_A_VALUE > MOST_UNITS:
                raise UnfitData("it names more data than an expression takes (1 MB): name less, or take a jit step")
        if not below:
            return units, longest
        level = below
    raise UnfitData(f"it names data that nests deeper than {DEEPEST} levels")


Trie = dict[str, "Trie | None"]
"""Paths by their first names; None stands for all that is below."""


def trie_of(paths: Iterable[tuple[str, ...]]) -> Trie:
    """The paths, without those that another one takes whole."""
    root: Trie = {}
    for path in sorted(paths, key=len):
        node = root
        for name in path[:-1]:
            below = node.setdefault(name, {})
            if below is None:
                break
            node = below
        else:
            node[path[-1]] = None
    return root


def named_parts(value: Any, trie: Trie | None) -> Any:
    """`value` with nothing but the parts that the trie names; what is absent stays absent, and null has no fields."""
    if trie is None:
        return value
    if value is None:
        return {}  # so that has(steps.a.output.total) is false of a step that has no output
    if not isinstance(value, Mapping):
        return value
    return {name: named_parts(value[name], below) for name, below in trie.items() if name in value}


def as_json(value: Any) -> Any:
    """A result of the library as JSON: moments as RFC 3339 text, durations as "90s". Raises UnfitData."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value  # the library's are within 64 bits
    if isinstance(value, float):
        if not isfinite(value):
            raise UnfitData("it gives a number that is not finite")
        return value
    if isinstance(value, list):
        return [as_json(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise UnfitData("it gives a map whose keys are no texts")
        return {key: as_json(item) for key, item in value.items()}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.9f}".rstrip("0").rstrip(".") + "s"
    raise UnfitData(f"it gives {type(value).__name__}, which is no JSON")
