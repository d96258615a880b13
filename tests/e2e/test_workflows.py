"""An order workflow: a compiled step, a model step, a third-party MCP server, a way for failures; and kill -9."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.model import Model, started_model
from tests.e2e.server import Server, kill, wait_until
from tests.e2e.traffic import InFlight
from tests.node_programs import FOLDER, node, node_program

PRICE = "_jit_code/price/v1/handler.py"
PRICE_HANDLER = """\
def handle(inputs, context):
    if inputs["item"] == "nothing":
        raise ValueError("no such item")
    return {"usd": 4.0 * inputs["count"], "step": context["workflowInfo"]["stepId"]}
"""
ORDER = """\
description: Prices an order, has its note read, and asks the store.
inputSchema:
  type: object
  properties: {item: {type: string}, count: {type: integer}, note: {type: string}}
  required: [item, count, note]
steps:
  - id: price
    type: jit
    componentId: price
    inputMapping: {item: trigger.input.item, count: trigger.input.count}
    onSuccess: read
    onFailureDefault: sorry
  - id: read
    type: llm
    componentId: urgency
    inputMapping: {note: trigger.input.note}
    retries: {maxAttempts: 3, backoff: {initialMs: 10}}
    onSuccess: store
  - id: store
    type: mcp
    tool: community.everything.get-sum
    inputMapping: {a: trigger.input.count, b: 40}
    onSuccess: done
  - id: done
    type: control
    control: formatResponse
    statusCode: 201
    headers: {x-urgency: steps.read.output.urgency}
    body: {usd: steps.price.output.usd, urgency: steps.read.output.urgency, store: "steps.store.output[0].text"}
    end: true
  - id: sorry
    type: control
    control: formatResponse
    statusCode: 404
    body: {sorry: steps.price.error.code}
    end: true
"""
APPROVAL = """\
steps:
  - id: approval
    type: control
    control: wait
    callback: {name: approved, correlation: trigger.input.orderId, timeoutMs: 3600000}
    onSuccess: price
  - id: price
    type: jit
    componentId: price
    inputMapping: {item: {literal: lamp}, count: steps.approval.output.count}
    end: true
"""
URGENCY = """\
template: "How urgent? Answer with JSON {\\"urgency\\": \\"low\\" or \\"high\\"}. Note: {{ note }}"
outputFormat: json
outputSchema: {type: object, properties: {urgency: {enum: [low, high]}}, required: [urgency]}
"""
LAMP = {"item": "lamp", "count": 2, "note": "soon!"}
HIGH = {"urgency": "high"}


def shop() -> dict[str, Any]:
    components = [
        {"componentId": "price", "handlerType": "JIT", "taskDetails": {"script": PRICE, "function": "handle"}},
        {"componentId": "urgency", "taskDetails": {"prompt_template": "urgency"}},
        {
            "componentId": "order", "handlerType": "WORKFLOW", "taskDetails": {"workflowId": "order"},
            "expectedResultFormat": "httpResponse", "tools": ["community.everything.get-sum"],
            "routeMatcher": {"pathPattern": "/orders", "methods": ["POST"]},
        },
        {
            "componentId": "approval", "handlerType": "WORKFLOW", "taskDetails": {"workflowId": "approval"},
            "routeMatcher": {"pathPattern": "/approvals", "methods": ["POST"]},
        },
    ]  # fmt: skip
    return {
        "definition": {"appId": "shop", "public": True, "mcpServers": {"everything": {"ref": "everything"}}},
        "files": {
            "component_registry.yaml": json.dumps({"components": components}),
            "workflows/order.yaml": ORDER,
            "workflows/approval.yaml": APPROVAL,
            "prompts/urgency.yaml": URGENCY,
            PRICE: PRICE_HANDLER,
        },
    }


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    with started_model() as model:
        yield model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Iterator[Server]:
    everything = node_program("@modelcontextprotocol/server-everything", "mcp-server-everything")
    started = {"command": [*everything, "stdio"], "folders": [str(FOLDER), str(node().parent.parent)]}
    environment = {
        **model.environment,
        "UHLP_MCP__SERVERS": json.dumps({"everything": started}),
        "COLUMNS": "80",
    }
    with Server(tmp_path_factory.mktemp("workflows") / "data", environment=environment) as server:
        server.administer("POST", "/apps", shop())
        yield server


def executions(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.administer("GET", "/apps/shop/executions?componentId=order")["executions"]
    return found


def timeline(server: Server, execution_id: str) -> list[tuple[str, int, str]]:
    shown = server.administer("GET", f"/apps/shop/executions/{execution_id}")
    return [(step["path"], step["attempt"], step["state"]) for step in shown["steps"]]


def test_an_order_is_priced_by_code_read_by_a_model_and_asked_of_a_third_partys_server(
    server: Server, model: Model
) -> None:
    model.says(HIGH)
    answer = server.http.post("/apps/shop/orders", json=LAMP)
    assert answer.status_code == 201, answer.text
    assert answer.json() == {"usd": 8.0, "urgency": "high", "store": "The sum of 2 and 40 is 42."}
    assert answer.headers["x-urgency"] == "high"
    assert answer.headers["X-UHLP-Handler"] == "workflow"
    assert answer.headers["X-UHLP-Implementation"].startswith("workflow@")
    execution_id = answer.headers["X-Execution-Id"]
    shown = server.administer("GET", f"/apps/shop/executions/{execution_id}")
    assert [(one["stepId"], one["kind"], one["implementation"]) for one in shown["steps"]] == [
        ("price", "jit", "jit@v1"), ("read", "llm", "prompt@stable"),
        ("store", "mcp", "tool community.everything.get-sum"), ("done", "formatResponse", None),
    ]  # fmt: skip
    assert shown["usage"]["tokensIn"] > 0
    samples = server.administer("GET", "/apps/shop/samples?componentId=urgency")["samples"]
    assert [(one["input"], one["output"]) for one in samples] == [({"note": "soon!"}, HIGH)]

    refused = server.http.post("/apps/shop/orders", json={**LAMP, "item": "nothing"})
    assert (refused.status_code, refused.json()) == (404, {"sorry": "HANDLER_FAILED"})
    bad = server.http.post("/apps/shop/orders", json={"item": "lamp"})
    assert (bad.status_code, bad.json()["error"]["code"]) == (422, "INPUT_INVALID")

    listed = server.command("executions", "shop")
    assert execution_id in listed.stdout, listed.stderr
    printed = server.command("executions", "shop", execution_id).stdout
    assert max(len(line) for line in (listed.stdout + printed).splitlines()) <= 80
    assert "tool community.everything.get-sum" in printed


def test_killed_in_the_middle_an_order_goes_on_and_no_finished_step_is_done_again(server: Server, model: Model) -> None:
    before = {one["executionId"] for one in executions(server)}
    model.forget()
    model.hold()
    InFlight(server).post("/apps/shop/orders", LAMP)
    wait_until(lambda: model.asked, "the model is asked")
    dead = server.worker_pid
    kill(dead)
    wait_until(lambda: server.worker_pid != dead and server.answers("/readyz"), "a new worker serves", 30)
    (run_id,) = {one["executionId"] for one in executions(server)} - before
    wait_until(lambda: model.asked >= 2, "the model is asked again", 20)
    model.says(HIGH, times=2)
    model.release()
    done = f"/apps/shop/-/executions/{run_id}"
    wait_until(lambda: server.http.get(done).json()["state"] == "succeeded", "the order is done", 20)
    assert timeline(server, run_id) == [
        ("price", 1, "succeeded"), ("read", 1, "interrupted"), ("read", 2, "succeeded"), ("store", 1, "succeeded"),
        ("done", 1, "succeeded"),
    ]  # fmt: skip
    resumed = 'uhlp_workflow_runs_resumed_total{appId="shop",componentId="order"} 1.0'
    assert resumed in server.http.get("/metrics").text.splitlines()

    shown = server.http.get("/metrics").text
    assert 'uhlp_workflow_runs_resumed_total{appId="shop",componentId="order"} 1.0' in shown
    assert 'uhlp_workflow_runs_total{appId="shop",componentId="order",state="succeeded"} 1.0' in shown
    assert 'uhlp_workflow_steps_total{appId="shop",componentId="order",kind="llm",outcome="ok"} 1.0' in shown


def test_a_caller_that_does_not_wait_finds_its_answer_after_a_callback_and_a_restart(server: Server) -> None:
    begun = server.http.post("/apps/shop/approvals", json={"orderId": "o-1"}, headers={"Prefer": "respond-async"})
    assert (begun.status_code, begun.headers["Preference-Applied"]) == (202, "respond-async")
    place = begun.headers["Location"]
    assert place == f"/apps/shop/-/executions/{begun.json()['executionId']}"
    wait_until(lambda: server.http.get(place).json()["state"] == "waiting", "the run waits")
    server.stop()
    server.start()
    key = server.administer("POST", "/apps/shop/api-keys", {"description": "a test", "permissions": ["*"]})["apiKey"]
    headers = {"X-API-Key": key}
    callback = "/apps/shop/-/callbacks/approved?correlation="
    assert server.http.post(f"{callback}o-1", json={"count": 3}).status_code == 401
    assert server.http.post(f"{callback}o-2", json={"count": 3}, headers=headers).status_code == 404
    run_id = begun.json()["executionId"]
    words = (sys.executable, "-m", "uhlp", "executions", "shop", run_id, "--wait", "--json")
    with subprocess.Popen(words, cwd=server.folder, env=server.environment, stdout=subprocess.PIPE) as waiting:
        told = server.http.post(f"{callback}o-1", json={"count": 3}, headers=headers)
        assert told.status_code == 202, told.text
        out, _ = waiting.communicate(timeout=60)
    assert (waiting.returncode, json.loads(out)["state"]) == (0, "succeeded")
    wait_until(lambda: server.http.get(place).json()["state"] == "succeeded", "the run is done")
    assert server.http.get(place).json()["result"] == {"usd": 12.0, "step": "price"}
    assert server.http.get("/apps/shop/-/executions/nothing").status_code == 404
    begun = server.http.post("/apps/shop/approvals", json={"orderId": "o-3"}, headers={"Prefer": "respond-async"})
    run_id = begun.json()["executionId"]
    ended = server.command("executions", "shop", run_id, "--cancel", "nobody approves it", "--wait")
    assert (ended.returncode, ended.stdout.splitlines()[0].split()[:2]) == (1, ["shop/approval", "cancelled"])
