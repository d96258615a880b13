"""check_schema: is this a schema that every request may be validated with?

Besides the meta-schema it holds that a schema stands alone (only local `$ref`), that its patterns mean something in
Python too, and that its size, nesting and the expansion of its references are bounded, so validation is as well.
"""

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any

import jsonschema_rs
import orjson

from uhlp.errors import DefinitionInvalid
from uhlp.jsonschemas.cost import cost_of, target_of
from uhlp.jsonschemas.validator import Problem, compile_validator, json_pointer

MAX_SCHEMA_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_REFERENCE_CHAIN = 100
MAX_EXPANDED_SUBSCHEMAS = 100_000
MAX_PATTERN_LENGTH = 1_000
MAX_WEIGHT = 30_000
"""Alternatives, compared values and patterns that may look at one place of a value (see `cost`)."""

_DRAFTS = {
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
}
_NAMED_SUBSCHEMAS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
_PLAIN_DATA = {"const", "enum", "default", "example", "examples"}
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_DEFINITIONS = {"$defs", "definitions"}

_MOST_REMEMBERED = 10_000
_accepted: dict[bytes, None] = {}
"""SHA-256 of schemas that were accepted: most of a definition is the same from one revision to the next."""

Step = str | int
Node = tuple[tuple[Step, ...], dict[str, Any]]


def check_schema(schema: Mapping[str, Any], *, path: str) -> None:
    """Raise DefinitionInvalid unless `schema` may be used; `path` names it in the message (a file, a field).

    `details.problems` lists {"path": JSON pointer into the schema, "message"}.
    """
    try:
        raw = orjson.dumps(schema)
    except TypeError as error:
        problems = [Problem(path="", message=f"is not JSON: {error}")]
    else:
        digest = sha256(raw).digest()
        if digest in _accepted:
            return
        problems = _problems(schema, len(raw))
        if not problems:
            _accepted[digest] = None
            while len(_accepted) > _MOST_REMEMBERED:
                _accepted.pop(next(iter(_accepted)), None)
    if problems:
        first = problems[0]
        where = f"{path}#{first['path']}" if first["path"] else path
        raise DefinitionInvalid(f"{where}: {first['message']}", details={"schema": path, "problems": problems})


def _problems(schema: Mapping[str, Any], size: int) -> list[Problem]:
    if size > MAX_SCHEMA_BYTES:
        return [Problem(path="", message=f"is {size} bytes long; the limit is {MAX_SCHEMA_BYTES}")]
    if _nests_too_deep(schema):
        return [Problem(path="", message=f"nests deeper than {MAX_DEPTH} levels")]
    root = dict(schema)
    problems = list(_meta_schema_problems(root)) or list(_subschema_problems(root))
    if not problems and _Expansion(root).is_too_large():
        limits = f"{MAX_EXPANDED_SUBSCHEMAS} subschemas or chains of {MAX_REFERENCE_CHAIN}"
        problems = [Problem(path="", message=f"its references expand to more than {limits}")]
    if not problems and (weight := cost_of(root).weight) > MAX_WEIGHT:
        told = f"its alternatives and patterns cost {weight} looks at one value; the limit is {MAX_WEIGHT}"
        problems = [Problem(path="", message=told)]
    if not problems:
        try:
            compile_validator(root)
        except ValueError as error:
            problems = [Problem(path="", message=str(error).splitlines()[0])]
    return problems


def _nests_too_deep(schema: Any) -> bool:
    level: list[Any] = [schema]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, Mapping) else node)
            if isinstance(child, Mapping | list | tuple)
        ]
    return bool(level)


def _meta_schema_problems(root: dict[str, Any]) -> Iterator[Problem]:
    draft_uri = root.get("$schema", "https://json-schema.org/draft/2020-12/schema")
    if not isinstance(draft_uri, str) or draft_uri.rstrip("#") not in _DRAFTS:  # the library would fetch any other
        yield Problem(path="/$schema", message=f"{draft_uri!r} is not a JSON Schema draft known here")
        return
    if jsonschema_rs.meta.is_valid(root):
        return
    from jsonschema.validators import Draft202012Validator, validator_for  # 90 ms, needed only to explain

    draft = validator_for(root, default=Draft202012Validator)
    for error in draft(draft.META_SCHEMA).iter_errors(root):
        yield Problem(path=json_pointer(error.absolute_path), message=error.message)


def _subschema_problems(root: dict[str, Any]) -> Iterator[Problem]:
    for steps, node in _subschemas((), root):
        for keyword in _REFERENCES:
            reference = node.get(keyword)
            at = json_pointer((*steps, keyword))
            if isinstance(reference, str) and not reference.startswith("#"):
                yield Problem(
                    path=at, message=f"{reference!r} is not local; only references within the schema (#…) work"
                )
            elif isinstance(reference, str) and not _is_resolvable(root, reference):
                yield Problem(path=at, message=f"{reference!r} points at nothing in this schema")
        if steps and isinstance(node.get("$id"), str):
            yield Problem(path=json_pointer((*steps, "$id")), message="only the root of a schema may carry an $id")
        patterns: list[tuple[tuple[Step, ...], Any]] = [(("pattern",), node.get("pattern"))]
        if isinstance(node.get("patternProperties"), dict):
            patterns += [(("patternProperties", pattern), pattern) for pattern in node["patternProperties"]]
        for tail, pattern in patterns:
            fault = _pattern_fault(pattern) if isinstance(pattern, str) else None
            if fault:
                yield Problem(path=json_pointer((*steps, *tail)), message=fault)


def _pattern_fault(pattern: str) -> str | None:
    if len(pattern) > MAX_PATTERN_LENGTH:
        return f"the pattern is {len(pattern)} characters long; the limit is {MAX_PATTERN_LENGTH}"
    try:
        re.compile(pattern)
        compile_validator({"pattern": pattern})
    except (re.error, OverflowError, RecursionError) as error:
        return f"the pattern does not compile in Python: {error}"
    except ValueError:
        return "the pattern is too large, or no regular expression of ECMA 262"
    return None


def _subschemas(steps: tuple[Step, ...], node: Any, *, is_named: bool = False) -> Iterator[Node]:
    """Every object that may act as a schema, with its place; unknown keywords count, because `$ref` may point there."""
    if isinstance(node, list | tuple):
        for index, item in enumerate(node):
            yield from _subschemas((*steps, index), item)
    elif isinstance(node, dict):
        if not is_named:
            yield steps, node
        for key, child in node.items():
            if is_named or key not in _PLAIN_DATA:
                yield from _subschemas((*steps, key), child, is_named=not is_named and key in _NAMED_SUBSCHEMAS)


def _is_resolvable(root: dict[str, Any], reference: str) -> bool:
    return reference[1:2] not in ("", "/") or target_of(root, reference) is not None


class _Expansion:
    """How many subschemas one value may meet once references are followed; a cycle counts once.

    Ten definitions that each refer twice to the next are a thousand subschemas; thirty are a billion.
    """

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sizes: dict[int, int] = {}
        self._anchors = {
            node[keyword]: node
            for _, node in _subschemas((), root)
            for keyword in ("$anchor", "$dynamicAnchor")
            if isinstance(node.get(keyword), str)
        }

    def is_too_large(self) -> bool:
        return self._size(self._root, chain=0) > MAX_EXPANDED_SUBSCHEMAS

    def _size(self, node: Any, chain: int) -> int:
        if isinstance(node, list):
            return sum(self._size(item, chain) for item in node)
        if not isinstance(node, dict):
            return 0
        if id(node) in self._sizes:
            return self._sizes[id(node)]
        if chain > MAX_REFERENCE_CHAIN:
            return MAX_EXPANDED_SUBSCHEMAS + 1
        self._sizes[id(node)] = 0
        size = 1 + sum(self._size(child, chain) for key, child in node.items() if key not in _DEFINITIONS)
        for keyword in _REFERENCES:
            reference = node.get(keyword)
            if isinstance(reference, str):
                target = target_of(self._root, reference) or self._anchors.get(reference[1:])
                size += self._size(target, chain + 1)
        self._sizes[id(node)] = size
        return size
