"""Findings: everything that is wrong with one workflow's file, each with its line."""

from collections.abc import Iterable
from typing import Any

from uhlp.errors import DefinitionInvalid
from uhlp.strict_yaml import Problem, YamlDocument

MOST_FINDINGS = 100
_Step = str | int


class Findings:
    """Collects problems at JSON pointers of `document`."""

    def __init__(self, document: YamlDocument) -> None:
        self._document = document
        self._found: list[Problem] = []

    def add(self, pointer: str, message: str, *, line: int | None = None) -> None:
        if len(self._found) < MOST_FINDINGS:
            self._found.append(self._document.problem(pointer, message, line=line))

    def raise_any(self) -> None:
        """Raise DefinitionInvalid with all of them, if there are any."""
        if self._found:
            raise self._document.invalid(sorted(self._found, key=lambda problem: problem["line"]))

    def take(self, error: DefinitionInvalid, pointer: str) -> None:
        """The problems of another check of what stands at `pointer`."""
        for problem in error.details["problems"]:
            self.add(f"{pointer}{problem.get('path', '')}", problem["message"])


def pointer_to(value: Any, location: Iterable[_Step], *, is_missing: bool = False) -> str:
    """The JSON pointer of a model's error location: without the names that the model gives to its alternatives.

    `is_missing`: the last name is of a field that is absent, and is kept.
    """
    *parents, last = tuple(location) or ("",)
    pointer = ""
    for name in (*parents, last):
        is_there = name in value if isinstance(value, dict) else isinstance(value, list) and name in range(len(value))
        if is_there:
            pointer, value = f"{pointer}/{_escaped(name)}", value[name]
    return f"{pointer}/{_escaped(last)}" if is_missing and isinstance(value, dict) else pointer


def _escaped(name: _Step) -> str:
    return str(name).replace("~", "~0").replace("/", "~1")
