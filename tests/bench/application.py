"""The application under test: one component as code, one as a prompt, on the same schemas."""

import json
from typing import Any

import httpx

from tests.bench.processes import ADMIN_TOKEN

APP_ID = "bench"
TICKET = {
    "subject": "Parcel still not here",
    "text": "Hello, I ordered two lamps last week and the courier says the delivery is late. Where is my parcel?",
}

_INPUT = {
    "type": "object",
    "properties": {"subject": {"type": "string"}, "text": {"type": "string", "maxLength": 4000}},
    "required": ["subject", "text"],
    "additionalProperties": False,
}
_OUTPUT = {
    "type": "object",
    "properties": {"queue": {"enum": ["shipping", "billing", "other"]}},
    "required": ["queue"],
    "additionalProperties": False,
}
_HANDLER = """
WORDS = {"shipping": ("parcel", "courier", "delivery"), "billing": ("invoice", "refund", "charged")}


def handle(inputs, context):
    words = set(inputs["text"].lower().replace(".", " ").replace(",", " ").replace("?", " ").split())
    for queue, signs in WORDS.items():
        if words.intersection(signs):
            return {"queue": queue}
    return {"queue": "other"}
"""
_PROMPT = """
template: |
  Which queue does this ticket belong to: shipping, billing or other?
  {{ subject }}
  {{ text }}
outputFormat: json
"""


def register(url: str, app_id: str = APP_ID) -> None:
    """Register the application on the server at `url`; POST /code and POST /model then answer."""
    files = {
        "component_registry.yaml": json.dumps({"components": [_component("code"), _component("model")]}),
        "prompts/triage.yaml": _PROMPT,
        "_jit_code/code/v1/handler.py": _HANDLER,
    }
    answer = httpx.post(
        f"{url}/admin/v1/apps",
        json={"definition": {"appId": app_id, "public": True}, "files": files},
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=60,
    )
    if answer.status_code != 201:
        raise RuntimeError(f"the application was refused: {answer.text}")


def _component(name: str) -> dict[str, Any]:
    task = {"prompt_template": "triage"}
    if name == "code":
        task["script"] = "_jit_code/code/v1/handler.py"
    return {
        "componentId": name,
        "handlerType": "JIT" if name == "code" else "LLM",
        "taskDetails": task,
        "routeMatcher": {"pathPattern": f"/{name}", "methods": ["POST"]},
        "inputSchema": _INPUT,
        "outputSchema": _OUTPUT,
    }
