"""What validation may cost: an upper bound per schema, and the size of a value.

The validator holds the interpreter's lock while it works, so no thread helps: a request must be refused before it
costs seconds. `weight` bounds the looks at one place of a value, `is_larger_than` counts the places.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

CHARACTERS_PER_UNIT = 64
"""A string counts as one place, and as one more for each so many characters."""

_LISTS = ("allOf", "anyOf", "oneOf")
_HERE = ("not", "if", "then", "else", "propertyNames")
_CHILDREN = ("additionalProperties", "items", "additionalItems", "unevaluatedProperties", "unevaluatedItems")
_COMBINED = frozenset({*_LISTS, *_HERE, "dependentSchemas", "dependencies"}) - {"propertyNames"}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_BACKTRACKS = re.compile(r"\(\?[=!<>]|\\[1-9k]|[*+?}]\+")
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_BACKTRACKING_WEIGHT = 500
_COMPARING_WEIGHT = 10


@dataclass(frozen=True, slots=True)
class Cost:
    """`weight`: upper bound on looks at one place of a value, in units of about 0.1 µs, strings of many
    characters and hostile patterns included. `alternatives`: the widest anyOf, oneOf or allOf.
    `unfolds`: a reference leads back to itself through alternatives. `is_flat`: alternatives tell scalars apart only.
    """

    weight: int
    alternatives: int
    unfolds: bool
    is_flat: bool


def cost_of(root: Mapping[str, Any]) -> Cost:
    """The cost of a schema; references that lead back count once, because the validator remembers their results."""
    weigher = _Weigher(root)
    weight = weigher.weight(root)
    return Cost(weight, weigher.alternatives, weigher.is_recursive and weigher.alternatives > 0, weigher.is_flat)


def is_larger_than(value: Any, most: int) -> bool:
    """Whether a JSON value has more than `most` places; stops counting there. About 50 ns a place."""
    left, waiting = most, [value]
    while waiting:
        one = waiting.pop()
        left -= 1
        if isinstance(one, str):
            left -= len(one) // CHARACTERS_PER_UNIT
        elif isinstance(one, dict):
            left -= len(one)
            if left >= 0:
                waiting.extend(one.values())
        elif isinstance(one, list):
            if left < len(one):
                return True
            waiting.extend(one)
        if left < 0:
            return True
    return False


def depth_of(value: Any) -> int:
    """How deep arrays and objects nest."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, dict | list)]:
        depth += 1
        level = [child for one in level for child in (one.values() if isinstance(one, dict) else one)]
    return depth


def target_of(root: Mapping[str, Any], reference: str) -> Any:
    """What a local JSON pointer reference names; None when it names nothing or is an anchor."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return None
    node: Any = root
    for part in unquote(reference[2:]).split("/"):
        step = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list) and _INDEX.fullmatch(step) and int(step) < len(node):
            node = node[int(step)]
        else:
            return None
    return node


class _Weigher:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.alternatives = 0
        self.is_recursive = False
        self.is_flat = True
        self._root = root
        self._weights: dict[int, int] = {}
        self._open: set[int] = set()
        self._anchors: dict[str, Any] | None = None

    def weight(self, node: Any) -> int:
        if not isinstance(node, Mapping):
            return 1
        known = self._weights.get(id(node))
        if known is not None:
            self.is_recursive = self.is_recursive or id(node) in self._open
            return known
        self._weights[id(node)] = 1
        self._open.add(id(node))
        here = list(self._here(node))
        if any(name in node for name in _COMBINED):
            self.is_flat = self.is_flat and not any(self._has_children(one, frozenset()) for one in here)
            widths = [len(node[name]) for name in _LISTS if isinstance(node.get(name), list)]
            self.alternatives = max(self.alternatives, 2, *widths)
        weight = max(self._own(node), self._below(node)) + sum(self.weight(one) for one in here)
        self._open.discard(id(node))
        self._weights[id(node)] = weight
        return weight

    def _own(self, node: Mapping[str, Any]) -> int:
        values = node.get("enum")
        compared = [*(values if isinstance(values, list) else ()), node.get("const")]
        scanned = sum(isinstance(one, dict | list | int | float) and not isinstance(one, bool) for one in compared)
        return 1 + _COMPARING_WEIGHT * scanned + sum(_pattern_weight(one) for one in _patterns(node))

    def _below(self, node: Mapping[str, Any]) -> int:
        """The heaviest child, plus every schema that may look at the same child."""
        singles = [node[name] for name in _CHILDREN if name in node]
        for name in ("properties", "items", "prefixItems"):
            group = node.get(name)
            singles += group.values() if name == "properties" and isinstance(group, Mapping) else ()
            singles += group if isinstance(group, list) else ()
        heaviest = max(map(self.weight, singles), default=0)
        patterns = node.get("patternProperties")
        beside = [*patterns.values()] if isinstance(patterns, Mapping) else []
        beside += [node["contains"]] if "contains" in node else []
        return heaviest + sum(map(self.weight, beside))

    def _here(self, node: Mapping[str, Any]) -> Iterator[Any]:
        """Schemas that look at the same value as `node`."""
        for name in _LISTS:
            if isinstance(node.get(name), list):
                yield from node[name]
        yield from (node[name] for name in _HERE if name in node)
        for name in ("dependentSchemas", "dependencies"):
            if isinstance(node.get(name), Mapping):
                yield from node[name].values()
        for name in _REFERENCES:
            if isinstance(node.get(name), str):
                yield self._target(node[name])

    def _target(self, reference: str) -> Any:
        target = target_of(self._root, reference)
        if target is None:
            if self._anchors is None:
                self._anchors = dict(_anchors(self._root))
            target = self._anchors.get(reference[1:])
        return target

    def _has_children(self, node: Any, seen: frozenset[int]) -> bool:
        if not isinstance(node, Mapping) or id(node) in seen:
            return False
        if any(name in node for name in (*_CHILDREN, "properties", "prefixItems", "patternProperties", "contains")):
            return True
        return any(self._has_children(one, seen | {id(node)}) for one in self._here(node))


def _patterns(node: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(node.get("pattern"), str):
        yield node["pattern"]
    if isinstance(node.get("patternProperties"), Mapping):
        yield from node["patternProperties"]


def _pattern_weight(pattern: str) -> int:
    return _BACKTRACKING_WEIGHT if _BACKTRACKS.search(pattern) else 1


def _anchors(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for keyword in ("$anchor", "$dynamicAnchor"):
            if isinstance(node.get(keyword), str):
                yield node[keyword], node
        for child in node.values():
            yield from _anchors(child)
    elif isinstance(node, list):
        for child in node:
            yield from _anchors(child)
