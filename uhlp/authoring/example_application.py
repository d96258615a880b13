"""An application out of a prompt and examples of what goes in and comes out: schemas are inferred from them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from uhlp.block_yaml import block_yaml
from uhlp.errors import ValidationFailed
from uhlp.jsonschemas.inferred import schema_of
from uhlp.registry.application_compiler import compile_application

_VARIABLE = re.compile(r"\{\{.*?\}\}", re.DOTALL)
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_CHOICES = 20
_SHORT = 40
TIMEOUT_MS = 30_000


def application_of(app_id: str, prompt: str, examples: Sequence[tuple[Any, Any]]) -> dict[str, str]:
    """The files of an application with one component, named `answer`, that `prompt` is asked by.

    `examples` are (input, output); inputs are objects. A prompt that names no field of them gets them all at its end,
    and one that does not name the fields of the answer its schema before that.
    Raises ValidationFailed, and DefinitionInvalid when what comes out could not be registered (a prompt that is no
    template).
    """
    inputs, outputs = [given for given, _ in examples], [answer for _, answer in examples]
    if not examples or not all(isinstance(given, dict) and given for given in inputs):
        raise ValidationFailed("An input is a JSON object with the fields of a request.")
    names = list(dict.fromkeys(name for given in inputs for name in given))
    if bad := [name for name in names if not _FIELD.fullmatch(name)]:
        raise ValidationFailed(f"{bad[0][:80]!r} is no name that a prompt can use: letters, digits and underscores.")
    is_text = all(isinstance(answer, str) for answer in outputs)
    component: dict[str, Any] = {
        "componentId": "answer",
        "description": prompt.strip().partition("\n")[0][:200].strip("# ") or "Answers by its prompt.",
        "handlerType": "LLM",
        "taskDetails": {"prompt_template": "answer"},
        "routeMatcher": {"pathPattern": "/answer", "methods": ["POST"]},
        "inputSchema": "schemas/input.json",
        "outputSchema": "schemas/output.json",
        "timeoutMs": TIMEOUT_MS,
    }
    if decision := _decision_field(outputs):
        component["optimization"] = {"decisionField": decision}
    template = "\n\n".join(
        [prompt.rstrip(), *_form(prompt, outputs), *([] if _VARIABLE.search(prompt) else [_all_fields(names)])]
    )
    golden = [
        {"id": f"example-{place}", "input": given, "expected": answer} for place, (given, answer) in _counted(examples)
    ]
    files = {
        "app.yaml": block_yaml({"appId": app_id, "displayName": app_id.replace("-", " ").capitalize(), "public": True}),
        "component_registry.yaml": block_yaml({"components": [component]}),
        "prompts/answer.yaml": block_yaml({"template": f"{template}\n", "outputFormat": "text" if is_text else "json"}),
        "schemas/input.json": _json(schema_of(inputs), 2),
        "schemas/output.json": _json(schema_of(outputs), 2),
        "evals/answer.jsonl": "".join(_json(one) for one in golden),
    }
    encoded = {path: text.encode() for path, text in files.items()}
    compile_application(app_id, encoded, revision="", global_configuration={})
    return files


def _counted(examples: Sequence[tuple[Any, Any]]) -> list[tuple[int, tuple[Any, Any]]]:
    return list(enumerate(examples, start=1))


def _form(prompt: str, outputs: Sequence[Any]) -> list[str]:
    """What to answer with, where the prompt does not say it."""
    fields = {name for answer in outputs if isinstance(answer, Mapping) for name in answer}
    if all(name in prompt for name in fields):
        return []
    return [f"Answer with JSON only, of this schema: {_json(schema_of(outputs)).strip()}"]


def _all_fields(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{{{{ {names[0]} }}}}"
    return "\n".join(f"{name}: {{{{ {name} }}}}" for name in names)


def _decision_field(outputs: Sequence[Any]) -> str | None:
    """The one field of short text that all outputs consist of."""
    if not all(isinstance(answer, Mapping) and len(answer) == 1 for answer in outputs):
        return None
    fields = {name for answer in outputs for name in answer}
    values = {
        value for answer in outputs for value in answer.values() if isinstance(value, str) and len(value) <= _SHORT
    }
    is_choice = (
        len(fields) == 1 and len(outputs) > 1 and 0 < len(values) < len(outputs) and len(values) <= _MOST_CHOICES
    )
    return fields.pop() if is_choice else None


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent) + "\n"
