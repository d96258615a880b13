"""RouteTable: which component answers a method and a path.

Patterns: `/users/:id` takes one segment, `/files/*rest` one or more, as the last part. A static segment goes before
`:param`, `:param` before `*rest`, segment by segment from the left. One slash at the end, of pattern or path, does not
count. Paths are matched as they were sent: split at `/`, then each segment percent-decoded once, so `%2F` is data.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from uhlp.errors import BadInput, MethodNotAllowed, RouteNotFound

MOST_SEGMENTS = 64
"""Of a pattern; `*rest` takes as many as a path has."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Route:
    """One component's pattern."""

    component_id: str
    pattern: str
    methods: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """The component that answers, and the decoded values of its pattern's parameters."""

    component_id: str
    path_params: dict[str, str]


class RouteConflict(ValueError):
    """The pattern cannot be read, or another component has the same one."""


_Leaf = tuple[str, tuple[str, ...]]


@dataclass(slots=True)
class _Node:
    static: dict[str, "_Node"] = field(default_factory=dict)
    param: "_Node | None" = None
    leaves: dict[str, _Leaf] = field(default_factory=dict)
    rest: dict[str, _Leaf] = field(default_factory=dict)


class RouteTable:
    """A trie of segments: a match costs the path's length, not the number of routes. Immutable once built."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._root = _Node()
        self._static: dict[tuple[str, str], RouteMatch] = {}
        for route in routes:
            self.add(route)

    def add(self, route: Route) -> None:
        """Add one route while building; RouteConflict when it is malformed or ambiguous."""
        node, names = self._root, list[str]()
        segments = _segments(route.pattern)
        takes_rest = False
        if len(segments) > MOST_SEGMENTS:
            raise RouteConflict(f"{route.pattern} has more than {MOST_SEGMENTS} segments")
        for position, segment in enumerate(segments):
            if segment[:1] in (":", "*"):
                names.append(_parameter(segment, route.pattern, names))
                if segment[0] == "*":
                    if position != len(segments) - 1:
                        raise RouteConflict(f"{segment} must be the last part of {route.pattern}")
                    takes_rest = True
                else:
                    node.param = node.param or _Node()
                    node = node.param
            elif segment:
                node = node.static.setdefault(segment, _Node())
            else:
                raise RouteConflict(f"{route.pattern} has an empty segment")
        leaves = node.rest if takes_rest else node.leaves
        for method in route.methods:
            taken = leaves.get(method)
            if taken is not None:
                raise RouteConflict(f"{method} {route.pattern} is answered by the component {taken[0]} already")
        leaves.update(dict.fromkeys(route.methods, (route.component_id, tuple(names))))
        if not names and "%" not in route.pattern:
            match = RouteMatch(route.component_id, {})
            self._static.update({(method, route.pattern): match for method in route.methods})

    def match(self, method: str, path: str) -> RouteMatch:
        """The component for a request; `path` as it was sent, percent-encoded.

        Raises RouteNotFound, MethodNotAllowed with details.allow, BadInput for a path that is not UTF-8.
        """
        static = self._static.get((method, path))  # most paths are sent as the pattern reads
        if static is not None:
            return static
        segments = _segments(path)
        if "%" in path:
            segments = [_decoded(segment) for segment in segments]
        allow: set[str] = set()
        values: list[str] = []
        leaf = _find(self._root, segments, 0, method, values, allow)
        if leaf is not None:
            return RouteMatch(leaf[0], dict(zip(leaf[1], values, strict=True)))
        if allow:
            raise MethodNotAllowed(
                f"{method} is not allowed on {path}; allowed: {', '.join(sorted(allow))}",
                details={"allow": sorted(allow)},
            )
        raise RouteNotFound(f"no component of the application answers {path}")


def _find(node: _Node, segments: list[str], at: int, method: str, values: list[str], allow: set[str]) -> _Leaf | None:
    """Depth first, static before `:param` before `*rest`; `values` holds the parameters on the way."""
    if at == len(segments):
        allow.update(node.leaves)
        return node.leaves.get(method)
    segment = segments[at]
    child = node.static.get(segment)
    if child is not None:
        leaf = _find(child, segments, at + 1, method, values, allow)
        if leaf is not None:
            return leaf
    if node.param is not None and segment:
        values.append(segment)
        leaf = _find(node.param, segments, at + 1, method, values, allow)
        if leaf is not None:
            return leaf
        values.pop()
    if node.rest:
        allow.update(node.rest)
        leaf = node.rest.get(method)
        if leaf is not None:
            values.append("/".join(segments[at:]))
            return leaf
    return None


def _segments(path: str) -> list[str]:
    trimmed = path.removeprefix("/").removesuffix("/")
    return trimmed.split("/") if trimmed else []


def _decoded(segment: str) -> str:
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError as error:
        raise BadInput("the path is not UTF-8 after percent-decoding") from error


def _parameter(segment: str, pattern: str, names: list[str]) -> str:
    name = segment[1:]
    if not _NAME.fullmatch(name):
        raise RouteConflict(f"{segment!r} in {pattern} is no parameter: letters, digits and _ follow the sign")
    if name in names:
        raise RouteConflict(f"{pattern} has the parameter {name} twice")
    return name
