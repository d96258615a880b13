"""Validator: one compiled JSON Schema. Nothing is ever fetched, and patterns have a bounded cost."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import islice
from typing import Any, TypedDict
from weakref import WeakValueDictionary

import jsonschema_rs
import orjson

from uhlp.jsonschemas.cost import Cost, cost_of, depth_of, is_larger_than

_MOST_PROBLEMS = 20
_LONGEST_MESSAGE = 300
_LIGHT = 20
"""A schema up to this weight is fast on the largest body."""
_MOST_LOOKS = 20_000_000  # about two seconds
_MOST_EXPLAINED = 5_000  # about 50 ms
_DEEPEST = 64
_BOUNDED_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=2**20, dfa_size_limit=2**20)


class Problem(TypedDict):
    """What is wrong, and where as a JSON pointer: "" is the whole value, "/a/0" the first item of `a`."""

    path: str
    message: str


class Validator:
    """Says whether JSON values match one schema. Safe to share and to keep.

    Every answer is bounded in time: what the schema's alternatives and patterns would make too costly is refused, and
    of a large value at most one problem is told, because the library makes all errors before it gives the first.
    """

    __slots__ = ("__weakref__", "_compiled", "_cost", "_most_places")

    def __init__(self, compiled: Any, cost: Cost) -> None:
        self._compiled = compiled
        self._cost = cost
        self._most_places = None if cost.weight <= _LIGHT else max(1, _MOST_LOOKS // cost.weight)

    def is_valid(self, value: Any) -> bool:
        """Whether `value` matches; false for what JSON cannot hold. Less than a microsecond for small values."""
        if self._most_places is not None and is_larger_than(value, self._most_places):
            return False
        try:
            return bool(self._compiled.is_valid(value))
        except ValueError:
            return False

    def problems(self, value: Any) -> list[Problem]:
        """What keeps `value` from matching, at most 20 problems, of a large value one; empty when it matches."""
        if self._most_places is not None and is_larger_than(value, self._most_places):
            told = f"holds more than {self._most_places} values, too many for this schema's alternatives and patterns"
            return [Problem(path="", message=told)]
        try:
            if self._compiled.is_valid(value):
                return []
            if self._explains_all(value):
                return [_problem(error) for error in islice(self._compiled.iter_errors(value), _MOST_PROBLEMS)]
            if self._cost.is_flat:
                self._compiled.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [_problem(error)]
        except ValueError as error:  # not a JSON value: other types, keys that are not strings, lone surrogates
            return [Problem(path="", message=_shortened(str(error)))]
        return [Problem(path="", message="does not match the schema, and is too large to say where")]

    def _explains_all(self, value: Any) -> bool:
        """Whether all errors of `value` are few enough to be made: alternatives multiply them at every level."""
        looks = self._cost.weight
        if self._cost.unfolds:
            looks *= self._cost.alternatives ** min(depth_of(value), _DEEPEST)
        return not is_larger_than(value, _MOST_EXPLAINED // looks)


_in_use: WeakValueDictionary[bytes, Validator] = WeakValueDictionary()


def compile_validator(schema: Mapping[str, Any]) -> Validator:
    """Compile a schema that `check_schema` has accepted; equal schemas share one validator while it is in use.

    Raises ValueError when it cannot be compiled.
    """
    digest = sha256(orjson.dumps(schema)).digest()
    validator = _in_use.get(digest)
    if validator is None:
        compiled = jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=_BOUNDED_PATTERNS)
        validator = _in_use[digest] = Validator(compiled, cost_of(schema))
    return validator


def json_pointer(steps: Iterable[str | int]) -> str:
    """RFC 6901: "" for no steps, "/a~1b/0" for `a/b` and 0."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _problem(error: Any) -> Problem:
    return Problem(path=json_pointer(error.instance_path), message=_shortened(error.message))


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
