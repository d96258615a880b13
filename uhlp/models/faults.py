"""What pydantic finds wrong with a definition, in words for the person who wrote it."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

Step = str | int


def fault_message(fault: Mapping[str, Any], model: type[BaseModel]) -> str:
    """The message of one of `ValidationError.errors()` of `model`; an unknown field is named, with the likely one."""
    if fault["type"] != "extra_forbidden":
        return str(fault["msg"]).removeprefix("Value error, ")
    *parents, unknown = fault["loc"]
    return f"unknown field `{unknown}`{did_you_mean(str(unknown), _fields_at(model, parents))}"


def did_you_mean(written: str, known: Sequence[str]) -> str:
    """`; did you mean `text`?`, or nothing when no known name is close."""
    close = get_close_matches(written, known, n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _fields_at(model: type[BaseModel], path: Sequence[Step]) -> list[str]:
    """The wire names of the fields of whatever model stands at `path`; none when that is no one model."""
    models = [model]
    for step in path:
        models = [inner for one in models for inner in _models_below(one, step)] or models
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _models_below(model: type[BaseModel], step: Step) -> list[type[BaseModel]]:
    """The models of the field that a step names; a step that names none (an index, a key, a union's tag) has none."""
    field = next((field for name, field in model.model_fields.items() if step in (field.alias, name)), None)
    return [] if field is None else _models_in(field.annotation)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _models_in(argument)]
