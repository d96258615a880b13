"""An extractor as files: handler.py and its tests, from templates that know nothing of any data."""

import inspect
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat
from typing import Any

from jinja2 import Environment, StrictUndefined

from uhlp import strict_json
from uhlp.demo.simulated_model.coder.extraction import reading
from uhlp.demo.simulated_model.coder.extraction.extractor import Extractor, Field, slot_name
from uhlp.demo.simulated_model.coder.specification import Recorded

_TESTS_OF_READING = 8
_TESTS_OF_LEAVING = 3


def handler_source(extractor: Extractor, *, component_id: str, samples: int) -> str:
    """handler.py: the forms and tables of the extractor, and the reading functions it uses."""
    knows_spellings = extractor.spellings is not None
    return _TEMPLATES["handler.py.j2"].render(
        extractor=extractor,
        component_id=component_id,
        samples=samples,
        field_names=", ".join(field.name or "the answer" for field in extractor.fields),
        has_numbers=any(field.kind == "number" for field in extractor.fields),
        compile_source=inspect.getsource(reading.compile_form),
        read_source=inspect.getsource(reading.read_as_spelled if knows_spellings else reading.read_plainly),
        read_call="read_as_spelled(written, SPELLINGS)"
        if knows_spellings
        else f'read_plainly(written, "{extractor.mark}")',
        expressions=[_expression(field, index) for index, field in enumerate(extractor.fields)],
    )


def tests_source(extractor: Extractor, samples: Sequence[Recorded]) -> str:
    """test_handler.py: recorded calls that the extractor gets right, one of each form first, and some it leaves."""
    by_form: dict[int, list[tuple[Any, Any]]] = {}
    left: list[Any] = [{}, {extractor.input_field: ""}]
    for one in samples:
        text = one.input.get(extractor.input_field) if isinstance(one.input, dict) else None
        answer, found = extractor.answer(text), extractor.first_match(text)
        if answer is None or found is None:
            if len(left) < _TESTS_OF_LEAVING + 2:
                left.append(one.input)
        elif strict_json.canonical(answer) == strict_json.canonical(one.output):
            by_form.setdefault(found[0], []).append((one.input, one.output))
    in_turn = [
        examples[depth]
        for depth in range(max(map(len, by_form.values()), default=0))
        for examples in by_form.values()
        if depth < len(examples)
    ]
    wanted = max(_TESTS_OF_READING, len(by_form))
    return _TEMPLATES["test_handler.py.j2"].render(read=in_turn[:wanted], left=left)


def guard_sentence(extractor: Extractor) -> str:
    """Which inputs the handler answers, for people."""
    return (
        f"Answers texts that fit one of {len(extractor.forms)} forms seen in recorded calls as a whole; "
        "everything else is left to the model."
    )


def _expression(field: Field, index: int) -> str:
    written = f"found[{_quoted(slot_name(index, field))}]"
    if field.kind == "constant":
        return repr(field.value)
    if field.kind == "choice":
        return f"{_constant(field)}[{written}.lower()]"
    if field.kind == "number":
        return f"number({written}, {field.scale}, {field.is_whole})"
    return f"{written}.{field.transform}()" if field.transform else written


def _constant(field: Field) -> str:
    """The name of a field's table of choices."""
    name = "".join(character if character.isalnum() and character.isascii() else "_" for character in field.name)
    return f"{name.upper() or 'ANSWER'}_OF"


def _quoted(text: str) -> str:
    """A string literal: raw and in double quotes where that reads better."""
    if '"' in text or "\n" in text or text.endswith("\\"):
        return repr(text)
    return f'r"{text}"' if "\\" in text else f'"{text}"'


def _pretty(value: Any) -> str:
    return pformat(value, width=88, sort_dicts=False)


def _environment() -> Environment:
    environment = Environment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)  # noqa: S701  Python, not HTML
    environment.filters.update(quoted=_quoted, pretty=_pretty, constant=_constant)
    return environment


_TEMPLATES = {
    name: _environment().from_string(Path(__file__).with_name(name).read_text(encoding="utf-8"))
    for name in ("handler.py.j2", "test_handler.py.j2")
}
