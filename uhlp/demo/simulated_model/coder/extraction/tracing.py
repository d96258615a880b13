"""Tracing: where in a text an output value can come from."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from uhlp.demo.simulated_model.coder.extraction.extractor import TRANSFORMS, Field
from uhlp.demo.simulated_model.coder.extraction.reading import read_plainly

PLAIN_NUMBER = r"[0-9]+(?:[.,][0-9]+)*"
SPELLED_NUMBER = r"[0-9]{1,3}(?: [0-9]{3})+(?:[.,][0-9]+)?(?![0-9])|[0-9]+(?:[.,'\u2019][0-9]+)*"
MARKS = (".", ",")

_SCALES = (0, 2, 3, 1, -2, -3, -1)
_MAX_CHOICES = 20
_MIN_CHOICE_SUPPORT = 2
_MIN_CHOICE_PRECISION = 0.95
_TOKEN = re.compile(r"[^\W\d_]+|[0-9]+|[^\w\s]")

Pair = tuple[str, dict[str, Any]]
"""An input text, white space made single, and the fields of its output."""


@dataclass(frozen=True, slots=True)
class Span:
    start: int
    end: int


def readings(written: str, marks: Sequence[str]) -> set[Decimal]:
    """The values that a number can have, under each decimal mark and with no decimals at all."""
    values = {read_plainly(written, mark) for mark in marks}
    if len(marks) > 1:
        values.add(Decimal(re.sub(r"[^0-9]", "", written)))
    return {value for value in values if value is not None}


def numbers_in(text: str, pattern: str) -> Iterator[re.Match[str]]:
    """Numbers that no letter or digit stands before."""
    return re.finditer(rf"(?<!\w)(?:{pattern})", text)


def number_field(
    name: str, pairs: Sequence[Pair], *, is_whole: bool, pattern: str, marks: Sequence[str]
) -> tuple[Field, int]:
    """A number field with the scale that traces the most samples, and how many those are."""

    def traced(scale: int) -> int:
        field = Field(name, "number", scale=scale, is_whole=is_whole)
        return sum(any(True for _ in number_spans(field, text, out[name], pattern, marks)) for text, out in pairs)

    counts = {scale: traced(scale) for scale in _SCALES}
    scale = max(_SCALES, key=lambda each: counts[each])
    return Field(name, "number", scale=scale, is_whole=is_whole), counts[scale]


def number_spans(field: Field, text: str, value: Any, pattern: str, marks: Sequence[str]) -> Iterator[Span]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    wanted = Decimal(str(value)).scaleb(-field.scale)
    for number in numbers_in(text, pattern):
        if wanted in readings(number[0], marks):
            yield Span(number.start(), number.end())


def text_field(name: str, pairs: Sequence[Pair]) -> tuple[Field, int]:
    """A text field with the transformation that traces the most samples, and how many those are."""
    fields = [Field(name, "text", transform=transform) for transform in TRANSFORMS]
    counts = [sum(any(True for _ in text_spans(field, text, out[name])) for text, out in pairs) for field in fields]
    best = max(range(len(fields)), key=lambda index: counts[index])
    return fields[best], counts[best]


def text_spans(field: Field, text: str, value: Any) -> Iterator[Span]:
    if not isinstance(value, str) or not value.strip():
        return
    for found in re.finditer(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE):
        if (getattr(found[0], field.transform)() if field.transform else found[0]) == value:
            yield Span(found.start(), found.end())


def choice_field(name: str, pairs: Sequence[Pair]) -> tuple[Field, int] | None:
    """A field of few values and the words or signs that stand for them; None when it takes too many values.

    A value that stands in the text itself stands for itself; for the others the tokens that occur with one value only
    are taken, those that explain the most first.
    """
    values = Counter(map(_key, (out[name] for _, out in pairs)))
    if len(values) > min(_MAX_CHOICES, max(2, len(pairs) // 5)):
        return None
    choices: dict[str, Any] = {}
    unexplained = []
    for text, out in pairs:
        written = next((m[0] for m in _occurrences(str(out[name]), text)), None)
        if written is None:
            unexplained.append((text, out[name]))
        else:
            choices[written.lower()] = out[name]
    having: dict[str, Counter[str]] = {}
    for text, out in pairs:
        for token in _tokens(text):
            having.setdefault(token, Counter())[_key(out[name])] += 1
    while unexplained:
        token, value, explained = _most_telling(unexplained, having)
        if explained < _MIN_CHOICE_SUPPORT:
            break
        choices[token] = value
        unexplained = [(text, other) for text, other in unexplained if token not in _tokens(text)]
    return Field(name, "choice", choices=choices), len(pairs) - len(unexplained)


def choice_spans(field: Field, text: str, value: Any) -> Iterator[Span]:
    for written, meant in (field.choices or {}).items():
        if _key(meant) == _key(value):
            yield from (Span(found.start(), found.end()) for found in _occurrences(written, text))


def _most_telling(unexplained: Iterable[tuple[str, Any]], having: dict[str, Counter[str]]) -> tuple[str, Any, int]:
    """The token that tells one value apart and explains the most of these (token, value, how many)."""
    best: tuple[str, Any, int] = ("", None, 0)
    counts: dict[tuple[str, str], tuple[int, Any]] = {}
    for text, value in unexplained:
        for token in _tokens(text):
            count, _ = counts.get((token, _key(value)), (0, value))
            counts[(token, _key(value))] = (count + 1, value)
    for (token, key), (count, value) in sorted(counts.items()):
        if count > best[2] and having[token][key] >= _MIN_CHOICE_PRECISION * having[token].total():
            best = (token, value, count)
    return best


def _occurrences(written: str, text: str) -> Iterator[re.Match[str]]:
    """Where `written` stands by itself, whatever the case."""
    before = r"(?<![^\W\d_])" if written[:1].isalpha() else ""
    after = r"(?![^\W\d_])" if written[-1:].isalpha() else ""
    return re.finditer(before + re.escape(written) + after, text, re.IGNORECASE)


def _tokens(text: str) -> set[str]:
    return {token.lower() for token in _TOKEN.findall(text) if not token.isdigit()}


def _key(value: Any) -> str:
    return f"{type(value).__name__}:{value}"
