"""Drafts of applications: one component that classifies, extracts or answers, by how the description puts it."""

import re
from typing import Any

from uhlp import strict_json
from uhlp.block_yaml import block_yaml
from uhlp.demo.simulated_model.tasks.task import Dice, Task
from uhlp.errors import UhlpError

_LIST = r"(?P<list>[\w' -]+(?:,[\w' -]+)*)"
_CHOICE = re.compile(rf"\b(?:into|as either|as one of|between|labels?:?)\s+{_LIST}", re.IGNORECASE)
_FIELDS = re.compile(rf"\b(?:extracts?|reads?|finds?|pulls? out)\s+{_LIST}\s+(?:from|of|out of|in)\b", re.IGNORECASE)
_BETWEEN = re.compile(r",|\bor\b|\band\b", re.IGNORECASE)
_LEADING = re.compile(r"^(?:the|an?|its|their|either)\s+", re.IGNORECASE)
_MOST_NAMES = 12


def answer(text: str, dice: Dice) -> dict[str, Any]:
    """{"files"}: a definition that can be registered, of one component with a prompt, schemas and golden examples."""
    description = _description(text)
    if found := _CHOICE.search(description):
        labels = _names(found["list"], "-")
        if len(labels) > 1:
            examples = [({"text": f"This is about {one.replace('-', ' ')}."}, {"label": one}) for one in labels[:6]]
            label = {"type": "string", "enum": labels}
            return _files("classify", description, {"label": label}, examples, decision="label")
    if found := _FIELDS.search(description):
        names = _names(found["list"], "_")
        if names:
            told = ", ".join(f"{name.replace('_', ' ')}: {name[:3]}-{place}" for place, name in enumerate(names, 1))
            expected = {name: f"{name[:3]}-{place}" for place, name in enumerate(names, 1)}
            properties = {name: {"type": ["string", "null"]} for name in names}
            return _files("extract", description, properties, [({"text": told}, expected)])
    return _files("answer", description, {"answer": {"type": "string", "maxLength": 2000}}, [])


def distort(value: dict[str, Any], dice: Dice) -> dict[str, Any]:
    """Without its schemas: what refers to them cannot be registered."""
    return {"files": {path: text for path, text in value["files"].items() if not path.startswith("schemas/")}}


def _description(text: str) -> str:
    """The description out of its fence."""
    try:
        return str(strict_json.loads(text.partition("\n")[0].encode(), subject="the description"))
    except UhlpError:
        return text


def _names(listed: str, joint: str) -> list[str]:
    """The members of a list in words, as names."""
    names = []
    for member in _BETWEEN.split(listed):
        words = re.findall(r"[a-z0-9]+", _LEADING.sub("", member.strip()).lower())[:3]
        if words:
            names.append(joint.join(words))
    return list(dict.fromkeys(names))[:_MOST_NAMES]


def _files(
    name: str,
    description: str,
    properties: dict[str, Any],
    examples: list[tuple[dict[str, Any], dict[str, Any]]],
    *,
    decision: str = "",
) -> dict[str, Any]:
    words = re.findall(r"[a-z][a-z0-9]*", description.lower())[:2]
    component: dict[str, Any] = {
        "componentId": name, "description": description[:300], "handlerType": "LLM",
        "taskDetails": {"prompt_template": name}, "routeMatcher": {"pathPattern": f"/{name}", "methods": ["POST"]},
        "inputSchema": "schemas/input.json", "outputSchema": "schemas/output.json", "timeoutMs": 30000,
    }  # fmt: skip
    if decision:
        component["optimization"] = {"decisionField": decision}
    text = {"type": "string", "minLength": 1, "maxLength": 10000}
    form = strict_json.dumps({"type": "object", "properties": properties}).decode()
    plain = re.sub(r"[{}%#]", " ", description)
    prompt = {
        "description": description[:300],
        "template": f"# Task\n{plain}\n\n# Answer\nOnly JSON of this schema:\n{form}\n\n# Text\n{{{{ text }}}}\n",
        "outputFormat": "json",
    }
    files = {
        "app.yaml": block_yaml({"appId": "-".join([*words, name])[:40], "displayName": description[:60]}),
        "component_registry.yaml": block_yaml({"components": [component]}),
        f"prompts/{name}.yaml": block_yaml(prompt),
        "schemas/input.json": _schema({"text": text}),
        "schemas/output.json": _schema(properties),
    }
    if examples:
        files[f"evals/{name}.jsonl"] = "".join(
            strict_json.dumps({"id": f"example-{place}", "input": given, "expected": expected}).decode() + "\n"
            for place, (given, expected) in enumerate(examples, 1)
        )
    return {"files": files}


def _schema(properties: dict[str, Any]) -> str:
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return strict_json.dumps(schema).decode() + "\n"


TASK = Task(
    "draft", "Draft the definition of an application", "\nThe description, as JSON:\n```json\n", answer, distort
)
