"""From traced samples to forms: what stands between the values becomes literal, the values become typed slots."""

import re
from collections.abc import Mapping, Sequence

from uhlp.demo.simulated_model.coder.extraction.extractor import Field, slot_name
from uhlp.demo.simulated_model.coder.extraction.tracing import Span

_LITERAL = re.compile(r"[0-9]+(?:[.,][0-9]+)*|[^\W\d_]+|\S")

Form = str
"""Literal tokens in lower case and slots ("<item>"), one space between them; see reading.compile_form."""


def form_of(text: str, spans: Mapping[int, Span], fields: Sequence[Field]) -> Form:
    """The text with its values taken out; spacing and case do not matter."""
    parts: list[str] = []
    position = 0
    for index, span in sorted(spans.items(), key=lambda entry: entry[1].start):
        parts += [token.lower() for token in _LITERAL.findall(text[position : span.start])]
        parts.append(f"<{slot_name(index, fields[index])}>")
        position = span.end
    return " ".join([*parts, *(token.lower() for token in _LITERAL.findall(text[position:]))])


def specificity(form: Form, fields: Sequence[Field]) -> tuple[int, int]:
    """How much a form demands: literal characters, then slots that are not free text."""
    free = {f"<{slot_name(index, field)}>" for index, field in enumerate(fields) if field.kind == "text"}
    slots = [part for part in form.split(" ") if len(part) > 2 and part[0] == "<"]
    literal = sum(len(part) for part in form.split(" ")) - sum(map(len, slots))
    return literal, sum(slot not in free for slot in slots)


def text_slot(values: Sequence[str]) -> str:
    """An expression for texts like these: the kinds of characters that occur in them."""
    joined = "".join(values)
    has_digits = any(character.isdigit() or character == "_" for character in joined)
    signs = {character for character in joined if not character.isalnum() and character not in "_ "}
    unit = r"\w" if has_digits else r"[^\W\d_]"
    inside = _any_of(unit, signs | ({" "} if " " in joined else set()))
    return f"{unit}(?:{inside}*?{_any_of(unit, signs)})?"


def _any_of(unit: str, signs: set[str]) -> str:
    """One character that is a `unit` or one of these signs."""
    listed = "".join(re.escape(sign) if sign in r"\]^-[&~|" else sign for sign in sorted(signs))
    if not listed:
        return unit
    return f"[{unit}{listed}]" if unit == r"\w" else f"(?:{unit}|[{listed}])"
