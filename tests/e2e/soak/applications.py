"""What the soak serves: a desk with a queue, a schedule and a tool, a shop with workflows, and what is promoted."""

import json
from typing import Any

from tests.e2e.applications import desk
from tests.e2e.support_desk import FOLDER

DESK, SHOP, ORDERS = "desk", "shop", "orders"
LINES = "order-lines"
PROMPT = f"prompts/{LINES}.yaml"

POOLS = {"pools": [{"poolName": "default", "idleTimeoutS": 15}]}
"""Workers that nobody asks end soon: those of code that was rolled back, and at rest all of them."""

_COUNT = "_jit_code/count/v1/handler.py"
_PRICE = "_jit_code/price/v1/handler.py"
_TOOL = "core.state.incrementRuntimeValue"
_COUNT_HANDLER = f"""\
from uhlp_runtime import call_tool


def handle(inputs, context):
    return {{"counted": call_tool("{_TOOL}", {{"key": inputs["shelf"]}})["value"]}}
"""
_PRICE_HANDLER = """\
def handle(inputs, context):
    return {"usd": 4.0 * inputs["count"]}
"""
_NOTE = """\
template: |
  Which queue is it for? Answer with JSON only: {"queue": "..."}. Note: {{ note }}
outputFormat: json
outputSchema: {type: object, properties: {queue: {type: string}}, required: [queue]}
"""
_ORDER = f"""\
steps:
  - id: price
    type: jit
    componentId: price
    inputMapping: {{count: trigger.input.count}}
    onSuccess: read
  - id: read
    type: llm
    componentId: note
    inputMapping: {{note: trigger.input.note}}
    onSuccess: keep
  - id: keep
    type: mcp
    tool: {_TOOL}
    inputMapping: {{key: {{literal: orders}}}}
    onSuccess: done
  - id: done
    type: control
    control: formatResponse
    statusCode: 201
    body: {{usd: steps.price.output.usd, queue: steps.read.output.queue}}
    end: true
"""
_APPROVAL = """\
steps:
  - id: approval
    type: control
    control: wait
    callback: {name: approved, correlation: trigger.input.orderId, timeoutMs: 600000}
    onSuccess: price
  - id: price
    type: jit
    componentId: price
    inputMapping: {count: steps.approval.output.count}
    end: true
"""


def busy_desk() -> dict[str, Any]:
    """The tests' desk; its handler works off the queue `tickets` and runs every minute, /count calls a tool."""
    body = desk(DESK, optimizationConfig={"enabled": False}, sandboxPools=POOLS)
    registry = json.loads(body["files"]["component_registry.yaml"])
    sort = next(one for one in registry["components"] if one["componentId"] == "sort")
    sort["triggers"] = [
        {"source": "queue", "queue": "tickets"},
        {"source": "cron", "schedule": "* * * * *", "input": {"text": "the parcel of this minute"}},
    ]
    registry["components"].append(_handler("count", _COUNT, tools=[_TOOL]) | _routed("count"))
    body["files"] |= {"component_registry.yaml": json.dumps(registry), _COUNT: _COUNT_HANDLER}
    return body


def shop() -> dict[str, Any]:
    """/orders goes through code, the model and a tool; /approvals waits for a callback first."""
    components = [
        _handler("price", _PRICE),
        {"componentId": "note", "taskDetails": {"prompt_template": "note"}},
        _workflow("order", expectedResultFormat="httpResponse", tools=[_TOOL]) | _routed("orders"),
        _workflow("approval") | _routed("approvals"),
    ]
    files = {
        "component_registry.yaml": json.dumps({"components": components}),
        "workflows/order.yaml": _ORDER,
        "workflows/approval.yaml": _APPROVAL,
        "prompts/note.yaml": _NOTE,
        _PRICE: _PRICE_HANDLER,
    }
    return {"definition": {"appId": SHOP, "public": True, "sandboxPools": POOLS}, "files": files}


def orders() -> dict[str, Any]:
    """The demo's order lines: a prompt at first, and a component that its coder can write a handler for."""
    component = {
        "componentId": LINES,
        "taskDetails": {"prompt_template": LINES},
        "inputSchema": "schemas/order-line.input.json",
        "outputSchema": "schemas/order-line.output.json",
        "timeoutMs": 30_000,
        "optimization": {"epsilon": 0.05, "maxWrongAnswers": 100},
    }
    schemas = {f"schemas/order-line.{way}.json" for way in ("input", "output")}
    files = {path: (FOLDER / path).read_text() for path in (PROMPT, *sorted(schemas))}
    files["component_registry.yaml"] = json.dumps({"components": [component | _routed(LINES)]})
    llm = {"provider": "simulated", "model": "simulated-small", "coderModel": "simulated-coder"}
    return {"definition": {"appId": ORDERS, "public": True, "sandboxPools": POOLS, "llm": llm}, "files": files}


def _routed(path: str) -> dict[str, Any]:
    return {"routeMatcher": {"pathPattern": f"/{path}", "methods": ["POST"]}}


def _handler(component_id: str, script: str, **more: Any) -> dict[str, Any]:
    task = {"script": script, "function": "handle"}
    return {"componentId": component_id, "handlerType": "JIT", "taskDetails": task, **more}


def _workflow(workflow_id: str, **more: Any) -> dict[str, Any]:
    task = {"workflowId": workflow_id}
    return {"componentId": workflow_id, "handlerType": "WORKFLOW", "taskDetails": task, **more}
