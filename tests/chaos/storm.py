"""The applications that chaos meets: handlers that answer, sleep, hang or eat memory, as each request asks them to."""

import json
from collections.abc import Mapping
from typing import Any

from tests.e2e.applications import BILLING, SHIPPING

BY_HANDLER, BY_MODEL = SHIPPING, BILLING
"""Whoever answered can be told from the answer."""

ANSWERS = {"text": "My parcel has not arrived."}
HANGS = {**ANSWERS, "does": "hangs"}
EATS = {**ANSWERS, "does": "eats"}

_HANDLER = """\
import itertools
import time

served = itertools.count(1)


def handle(inputs, context):
    does = inputs.get("does")
    if does == "hangs":
        sum(itertools.repeat(0))  # in C, where no signal is looked at
    held = []
    while does == "eats":
        held.append(b"x" * (16 << 20))
    began = time.monotonic()
    time.sleep(inputs.get("seconds", 0))
    return {"queue": "shipping"} if "parcel" in inputs["text"] else {"queue": "other", "began": began}
"""
_PROMPT = """\
template: |
  Sort the ticket into billing, shipping or other. Answer with JSON only: {"queue": "..."}.
  Ticket: {{ text }}
outputFormat: json
outputSchema: {type: object, required: [queue]}
"""
_SCRIPT = "_jit_code/sort/v1/handler.py"


def slow(seconds: float) -> dict[str, Any]:
    """An input whose handler takes this long."""
    return {**ANSWERS, "seconds": seconds}


def storm(app_id: str, *, pool: Mapping[str, Any] | None = None, timeout_ms: int = 20_000) -> dict[str, Any]:
    """The body of POST /admin/v1/apps. /sort and /other run the handler and can fall back to the model, /ask asks the
    model alone, /alone is a handler that no model stands behind."""

    def component(component_id: str, **task: str) -> dict[str, Any]:
        return {
            "componentId": component_id,
            "handlerType": "JIT" if "script" in task else "LLM",
            "taskDetails": task,
            "routeMatcher": {"pathPattern": f"/{component_id}", "methods": ["POST"]},
            "timeoutMs": timeout_ms if "prompt_template" in task else timeout_ms // 4,
            "optimization": {"mode": "off"},
        }

    handler = {"script": _SCRIPT, "function": "handle"}
    components = [
        component("sort", prompt_template="sort", **handler),
        component("other", prompt_template="sort", **handler),
        component("ask", prompt_template="sort"),
        component("alone", **handler),
    ]
    pools = {"pools": [{"poolName": "default", **(pool or {})}]}
    return {
        "definition": {"appId": app_id, "public": True, "sandboxPools": pools},
        "files": {
            "component_registry.yaml": json.dumps({"components": components}),
            "prompts/sort.yaml": _PROMPT,
            _SCRIPT: _HANDLER,
        },
    }
