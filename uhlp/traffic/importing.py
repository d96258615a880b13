"""Logs that users already have, as rows of inputs and outputs."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.errors import MalformedJson, ValidationFailed

_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One recorded call of a log; `line` counts from 1. `gold` is what is right, where the log knows (`has_gold`)."""

    input: dict[str, Any]
    output: Any
    line: int
    gold: Any = None
    has_gold: bool = False


def import_rows(
    lines: Iterable[str | bytes],
    *,
    input_fields: Sequence[str] | Mapping[str, str] = (),
    output_field: str | None = None,
    output_key: str | None = None,
    gold_field: str | None = None,
) -> list[ImportedRow]:
    """Read a JSON Lines log; empty lines are skipped.

    A row is {"input": {…}, "output": …}, or any object whose fields are named: `input_fields` are the ones that make
    the input (a mapping renames: {"question": "text"} reads `text` as input `question`), `output_field` is the answer,
    `gold_field` the right answer. `output_key` wraps answer and gold in an object: "billing" → {"label": "billing"}.
    Raises ValidationFailed whose `problems` name line and fault (the first 20).
    """
    wanted = dict(input_fields) if isinstance(input_fields, Mapping) else {name: name for name in input_fields}
    if bool(wanted) != (output_field is not None):
        raise ValidationFailed("Name the input fields and the output field together, or neither.")
    rows: list[ImportedRow] = []
    problems: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        raw = line.encode() if isinstance(line, str) else line
        if not raw.strip():
            continue
        try:
            rows.append(_row(raw, number, wanted, output_field or "output", output_key, gold_field))
        except _BadRow as bad:
            problems.append({"line": number, "message": str(bad)})
            if len(problems) == _MAX_PROBLEMS:
                break
    if problems:
        first = problems[0]
        raise ValidationFailed(f"Line {first['line']} {first['message']}", details={"problems": problems})
    if not rows:
        raise ValidationFailed("The log holds no rows.")
    return rows


class _BadRow(Exception):
    """What is wrong with one row; the text goes on after `Line 7`."""


def _row(
    raw: bytes, number: int, wanted: Mapping[str, str], output_field: str, output_key: str | None, gold: str | None
) -> ImportedRow:
    try:
        value = strict_json.loads(raw, subject="")
    except MalformedJson as error:
        raise _BadRow(error.message.strip().replace(": line 1 column", ": column")) from None
    if not isinstance(value, dict):
        raise _BadRow("is no JSON object")
    given = ", ".join(value)
    if wanted:
        absent = [name for name in (*wanted.values(), output_field) if name not in value]
        if absent:
            raise _BadRow(f"has no field {absent[0]!r}; it has {given}")
        inputs = {name: value[source] for name, source in wanted.items()}
    else:
        if "input" not in value or "output" not in value:
            raise _BadRow(f"has no input and output; name the fields to take instead: it has {given}")
        inputs = value["input"]
        if not isinstance(inputs, dict):
            raise _BadRow("has an input that is no object: it holds the variables of the component's prompt")

    def wrapped(answer: Any) -> Any:
        return {output_key: answer} if output_key else answer

    if gold is not None and gold not in value:
        raise _BadRow(f"has no field {gold!r}; it has {given}")
    return ImportedRow(
        input=inputs,
        output=wrapped(value[output_field]),
        line=number,
        gold=wrapped(value[gold]) if gold is not None else None,
        has_gold=gold is not None,
    )
