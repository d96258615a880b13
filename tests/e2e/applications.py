"""The application that the tests register: one prompt, and one handler that keeps its prompt."""

import json
from typing import Any

APP = "desk"
TICKET = {"text": "My invoice shows the same payment two times."}
BILLING = {"queue": "billing"}
PARCEL = {"text": "Where is my parcel?"}
SHIPPING = {"queue": "shipping"}

_INPUT = {
    "type": "object",
    "properties": {"text": {"type": "string"}, "seconds": {"type": "number"}},
    "required": ["text"],
}
_PROMPT = """\
description: Sorts a ticket into a queue.
template: |
  Sort the ticket into billing, shipping or other. Answer with JSON only: {"queue": "..."}.
  Ticket: {{ text }}
outputFormat: json
outputSchema:
  type: object
  properties: {queue: {enum: [billing, shipping, other]}}
  required: [queue]
  additionalProperties: false
"""
_HANDLER = """\
import time

from uhlp_runtime import Deoptimize


def handle(inputs, context):
    time.sleep(inputs.get("seconds", 0))
    if "parcel" in inputs["text"]:
        return {"queue": "shipping"}
    raise Deoptimize("no parcel")
"""


def _component(component_id: str, **more: Any) -> dict[str, Any]:
    return {
        "componentId": component_id,
        "routeMatcher": {"pathPattern": f"/{component_id}", "methods": ["POST"]},
        "inputSchema": _INPUT,
        **more,
    }


def desk(app_id: str = APP, **more: Any) -> dict[str, Any]:
    """The body of POST /admin/v1/apps: /classify asks the model, /sort runs a handler first."""
    classify = _component("classify", taskDetails={"prompt_template": "classify"})
    script = "_jit_code/sort/v1/handler.py"
    task = {"prompt_template": "classify", "script": script, "function": "handle"}
    sort = _component("sort", handlerType="JIT", taskDetails=task)
    components = {"components": [classify, sort]}
    return {
        "definition": {"appId": app_id, "public": True, **more},
        "files": {
            "component_registry.yaml": json.dumps(components),
            "prompts/classify.yaml": _PROMPT,
            script: _HANDLER,
        },
    }
