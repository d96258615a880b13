"""OutputReader: a model's text as the value it was asked for."""

import asyncio
import re
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid, MalformedJson, ValidationFailed
from uhlp.jsonschemas import Problem, Validator, check_schema, compile_validator
from uhlp.strict_yaml import YamlDocument

_FENCE = "```"
_READ_IN_PLACE = {"json": 64 * 1024, "yaml": 2 * 1024, "text": 2**31}
"""Characters that take a few milliseconds at most."""
_MOST_SCHEMAS = 256
_LONGEST_MESSAGE = 300


@dataclass(frozen=True, slots=True)
class Reading:
    """The `value` of a text, unless `problems` say why it has none of the format and schema."""

    value: Any
    problems: tuple[Problem, ...] = ()


class OutputReader:
    """Parses and validates; compiled schemas are kept by their content."""

    def __init__(self) -> None:
        self._validators: OrderedDict[bytes, Validator] = OrderedDict()

    async def validator(self, schema: dict[str, Any] | None) -> Validator | None:
        """The compiled schema. It comes from a sandbox, so it is checked like any other: raises ValidationFailed."""
        if schema is None:
            return None
        key = strict_json.dumps(schema)
        found = self._validators.get(key)
        if found is None:
            found = self._validators[key] = await asyncio.to_thread(_compile, schema)
            if len(self._validators) > _MOST_SCHEMAS:
                self._validators.popitem(last=False)
        return found

    async def read(self, text: str, output_format: str, validator: Validator | None) -> Reading:
        """The value in `text`, without a Markdown fence around it; what may take long is read in a thread."""
        if len(text) > _READ_IN_PLACE[output_format]:
            return await asyncio.to_thread(_read, text, output_format, validator)
        return _read(text, output_format, validator)


def _read(text: str, output_format: str, validator: Validator | None) -> Reading:
    reading = Reading(text) if output_format == "text" else _parsed(text, output_format)
    if reading.problems or validator is None or validator.is_valid(reading.value):
        return reading
    unknown = Problem(path="", message="the answer does not match the schema")
    return Reading(None, tuple(validator.problems(reading.value)) or (unknown,))


def _compile(schema: dict[str, Any]) -> Validator:
    try:
        check_schema(schema, path="outputSchema")
    except DefinitionInvalid as error:
        problems = [{**one, "path": "/outputSchema" + one["path"]} for one in error.details["problems"]]
        raise ValidationFailed(error.message, details={"problems": problems}) from None
    return compile_validator(schema)


def _parsed(text: str, output_format: str) -> Reading:
    body = _unfenced(text).encode(errors="replace")
    try:
        if output_format == "json":
            return Reading(strict_json.loads(body, subject="The answer"))
        return Reading(YamlDocument(body, path="answer").value)
    except (MalformedJson, DefinitionInvalid) as error:
        message = error.message if output_format == "json" else f"The answer is not YAML: {error.message}"
        return Reading(None, (Problem(path="", message=message[:_LONGEST_MESSAGE]),))


def _unfenced(text: str) -> str:
    """What stands between Markdown fences (```json), if the text is nothing else. By hand: a pattern that skips blanks
    on both sides takes quadratic time for a text of blanks."""
    stripped = text.strip()
    opening, _, rest = stripped.partition("\n")
    if opening.startswith(_FENCE) and rest.endswith(_FENCE) and re.fullmatch("[a-z]*", opening[len(_FENCE) :].strip()):
        return rest[: -len(_FENCE)]
    return text
