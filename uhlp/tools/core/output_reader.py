"""OutputReader: a model's text as the value it was asked for."""

import asyncio
import re
from collections import OrderedDict
from typing import Any

from uhlp import strict_json
from uhlp.errors import DefinitionInvalid, MalformedJson, ValidationFailed
from uhlp.jsonschemas import Validator, check_schema, compile_validator
from uhlp.strict_yaml import YamlDocument

_FENCED = re.compile(r"\s*```[a-z]*[ \t]*\n(.*?)\n?[ \t]*```\s*", re.DOTALL)
_MOST_SCHEMAS = 256

UNREADABLE = object()
"""What `read` gives for a text that is not a value of the format and schema; None is a value."""


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

    def read(self, text: str, output_format: str, validator: Validator | None) -> Any:
        """The value in `text` (a Markdown fence around it is dropped), or UNREADABLE."""
        value = text if output_format == "text" else _parsed(text, output_format)
        if value is UNREADABLE or (validator is not None and not validator.is_valid(value)):
            return UNREADABLE
        return value


def _compile(schema: dict[str, Any]) -> Validator:
    try:
        check_schema(schema, path="outputSchema")
    except DefinitionInvalid as error:
        problems = [{**one, "path": "/outputSchema" + one["path"]} for one in error.details["problems"]]
        raise ValidationFailed(error.message, details={"problems": problems}) from None
    return compile_validator(schema)


def _parsed(text: str, output_format: str) -> Any:
    fenced = _FENCED.fullmatch(text)
    body = (fenced[1] if fenced else text).encode()
    try:
        return strict_json.loads(body) if output_format == "json" else YamlDocument(body, path="answer").value
    except (MalformedJson, DefinitionInvalid):
        return UNREADABLE
