"""Validator: one compiled JSON Schema. Nothing is ever fetched, and patterns have a bounded cost."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, TypedDict

import jsonschema_rs

_MOST_PROBLEMS = 20
_LONGEST_MESSAGE = 300
_BOUNDED_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=10_000, size_limit=2**20, dfa_size_limit=2**20)


class Problem(TypedDict):
    """What is wrong, and where as a JSON pointer: "" is the whole value, "/a/0" the first item of `a`."""

    path: str
    message: str


class Validator:
    """Says whether JSON values match one schema. Safe to share and to keep."""

    __slots__ = ("_compiled",)

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def is_valid(self, value: Any) -> bool:
        """Whether `value` matches; false for what JSON cannot hold. Less than a microsecond for small values."""
        try:
            return bool(self._compiled.is_valid(value))
        except ValueError:
            return False

    def problems(self, value: Any) -> list[Problem]:
        """What keeps `value` from matching, at most 20 problems; empty when it matches."""
        try:
            return [
                Problem(path=json_pointer(error.instance_path), message=_shortened(error.message))
                for error in islice(self._compiled.iter_errors(value), _MOST_PROBLEMS)
            ]
        except ValueError as error:  # not a JSON value: other types, keys that are not strings, lone surrogates
            return [Problem(path="", message=_shortened(str(error)))]


def compile_validator(schema: Mapping[str, Any]) -> Validator:
    """Compile a schema that `check_schema` has accepted. Raises ValueError when it cannot be compiled."""
    compiled = jsonschema_rs.validator_for(dict(schema), offline=True, pattern_options=_BOUNDED_PATTERNS)
    return Validator(compiled)


def json_pointer(steps: Iterable[str | int]) -> str:
    """RFC 6901: "" for no steps, "/a~1b/0" for `a/b` and 0."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"
