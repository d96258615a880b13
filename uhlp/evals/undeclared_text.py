"""Undeclared text: answers that are prose, though no comparator says so.

A field without a policy is compared exactly. Where a model words it anew each time nothing is ever equal, and every run
that is paid for says no more than that; so what is known of the answers already is looked at first.
"""

from collections.abc import Iterable, Iterator, Mapping
from statistics import median
from typing import Any

from uhlp.evals.dataset import Sample

_LEAST_ANSWERS = 10
_PROSE_WORDS = 8
_MOST_ALIKE = 0.05
"""Share of the texts that may be another one's twin, or be found in the input as they are."""


def undeclared_text(samples: Iterable[Sample], policies: Mapping[str, Any]) -> str | None:
    """The first field ("a.b", "$": all of it) whose texts are long, all different and copied from no input; None
    without one. A field with a policy of its own, or within one that has, is what its owner says."""
    found: dict[str, list[tuple[str, Sample]]] = {}
    for sample in samples:
        for path, text in _texts(sample.expected, ""):
            if not _is_declared(path, policies):
                found.setdefault(path or "$", []).append((text, sample))
    return next((path for path, texts in sorted(found.items()) if _is_prose(texts)), None)


def _is_prose(texts: list[tuple[str, Sample]]) -> bool:
    if len(texts) < _LEAST_ANSWERS or median(len(text.split()) for text, _ in texts) < _PROSE_WORDS:
        return False
    twins = len(texts) - len({text for text, _ in texts})
    copies = sum(any(text in given for _, given in _texts(sample.input, "")) for text, sample in texts)
    return twins + copies <= _MOST_ALIKE * len(texts)


def _texts(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text in a JSON value, with its path as comparators write it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner, f"{path}[]")


def _is_declared(path: str, policies: Mapping[str, Any]) -> bool:
    return any(upper in (path or "$", "$") or path.startswith((f"{upper}.", f"{upper}[]")) for upper in policies)
