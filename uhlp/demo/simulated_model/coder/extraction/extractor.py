"""What induction finds: fields, forms that fill them, and how numbers are spelled."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal

from uhlp.demo.simulated_model.coder.extraction.reading import compile_form, read_as_spelled, read_plainly

FieldKind = Literal["number", "text", "choice", "constant"]

TRANSFORMS = ("", "lower", "upper", "title", "capitalize")
"""What may happen to a text on its way to the output: nothing, or the string method of this name."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the output (`name` "" when the output is a single value).

    number: the value is what is written times 10 to the `scale`; `is_whole` says it must come out as an integer.
    text: a part of the input after `transform`. choice: `choices` maps what is written (lower case) to the value.
    constant: always `value`.
    """

    name: str
    kind: FieldKind
    scale: int = 0
    is_whole: bool = False
    transform: str = ""
    choices: Mapping[str, Any] | None = None
    value: Any = None


@dataclass(frozen=True)
class Extractor:
    """Reads `input_field` by the first of its `forms` that fits the whole text (reading.compile_form).

    `slots` are the (kind, expression) of the forms' slots by name. `spellings` is None when every number is read with
    the decimal mark `mark`.
    """

    input_field: str
    fields: tuple[Field, ...]
    forms: tuple[str, ...]
    slots: Mapping[str, tuple[str, str]]
    mark: str
    spellings: Mapping[tuple[str, int], str] | None
    max_characters: int

    def answer(self, text: Any) -> Any:
        """The output for this text; None when it is left to the model. The generated handler does the same."""
        found = self.first_match(text)
        if found is None:
            return None
        values: dict[str, Any] = {}
        for number, field in enumerate(self.fields):
            value = self._value(field, number, found[1])
            if value is None:
                return None
            values[field.name] = value
        return values.get("", values)

    def first_match(self, text: Any) -> tuple[int, re.Match[str]] | None:
        """(index of the form, match)."""
        if not isinstance(text, str) or len(text) > self.max_characters:
            return None
        for index, pattern in enumerate(self._compiled):
            match = pattern.fullmatch(" ".join(text.split()))
            if match:
                return index, match
        return None

    def read_number(self, written: str) -> Decimal | None:
        if self.spellings is None:
            return read_plainly(written, self.mark)
        return read_as_spelled(written, self.spellings)

    def _value(self, field: Field, number: int, match: re.Match[str]) -> Any:
        if field.kind == "constant":
            return field.value
        written = match[slot_name(number, field)]
        if field.kind == "choice":
            return (field.choices or {}).get(written.lower())
        if field.kind == "text":
            return getattr(written, field.transform)() if field.transform else written
        amount = self.read_number(written)
        if amount is None:
            return None
        amount = amount.scaleb(field.scale)
        if amount == amount.to_integral_value():
            return int(amount)
        return None if field.is_whole else float(amount)

    @cached_property
    def _compiled(self) -> list[re.Pattern[str]]:
        return [compile_form(form, self.slots) for form in self.forms]


def slot_name(index: int, field: Field) -> str:
    """The name of a field's slot: the field's own where it can be the name of a group."""
    return field.name if field.name.isidentifier() and field.name.isascii() else f"field{index}"
