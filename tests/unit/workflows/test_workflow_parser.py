"""Workflows are checked whole, every problem is told with its line, and what is accepted becomes a plan."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.unit.workflows.order_workflow import ORDER
from uhlp.errors import DefinitionInvalid
from uhlp.expressions import WorkflowExpression
from uhlp.workflows import (
    Branch,
    ComponentCall,
    FormatResponse,
    Loop,
    Parallel,
    Plan,
    Subworkflow,
    ToolCall,
    WaitForCallback,
    WaitForTime,
    parse_workflow,
)

PATH = "workflows/order.yaml"
SKU, POSITION = "/steps/2/steps/0/inputMapping/sku", "/steps/2/steps/0/inputMapping/position"
CASE, CORRELATION = "/steps/3/branches/approval/0/cases/0/when", "/steps/3/branches/approval/1/callback/correlation"


def parsed(text: str) -> Plan:
    return parse_workflow(text.encode(), path=PATH)


def given(names: dict[str, Any]) -> Callable[[WorkflowExpression], Awaitable[Any]]:
    """What expressions give of these names."""

    async def of_expression(expression: WorkflowExpression) -> Any:
        return expression.evaluate(names)

    return of_expression


def problems(text: str) -> list[dict[str, Any]]:
    with pytest.raises(DefinitionInvalid) as caught:
        parsed(text)
    return caught.value.details["problems"]


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def test_a_workflow_becomes_a_plan_with_everything_in_it() -> None:
    plan = parsed(ORDER)
    assert plan.step_ids == (
        "parse", "pause", "each", "stock", "both", "summarize", "ask", "approve", "skip", "ship", "answer", "rejected",
    )  # fmt: skip
    assert [type(step.action) for step in plan.every_step()] == [
        ComponentCall, WaitForTime, Loop, ToolCall, Parallel, ComponentCall, Branch, WaitForCallback, FormatResponse,
        Subworkflow, FormatResponse, FormatResponse,
    ]  # fmt: skip
    assert plan.component_ids == {"order-lines", "summary"}
    assert plan.tools == {"community.warehouse.stock"}
    assert plan.workflow_ids == {"ship"}
    assert plan.callbacks == {"approved"}
    assert plan.root.start == "parse"
    assert plan.input_validator is not None
    parse, stock = (next(step for step in plan.every_step() if step.step_id == name) for name in ("parse", "stock"))
    assert [(one.next, one.codes) for one in parse.on_failure] == [
        ("rejected", frozenset({"INPUT_INVALID", "OUTPUT_INVALID"})),
        ("pause", None),
        ("rejected", None),
    ]
    assert (parse.max_visits, parse.line) == (3, line_of(ORDER, "- id: parse"))
    assert stock.timeout_s == 2
    assert [stock.retries.delay_s(attempt) for attempt in (1, 2, 3, 9)] == [0.1, 0.2, 0.4, 1.0]


def test_a_list_of_transitions_says_the_same_as_the_other_spelling() -> None:
    step = "steps:\n  - {id: a, type: llm, componentId: c, %s}\n  - {id: b, type: llm, componentId: c, end: true}\n"
    one = parsed(step % "onSuccess: b, onFailure: [{code: X, next: b}], onFailureDefault: b").root.steps["a"]
    lines = "transitions: [{next: b}, {on: failure, code: X, next: b}, {on: failure, next: b}]"
    other = parsed(step % lines).root.steps["a"]
    assert (one.on_success, one.on_failure) == (other.on_success, other.on_failure)


async def test_values_are_expressions_except_where_they_are_written_as_literals() -> None:
    plan = parsed(
        "steps: [{id: a, type: llm, componentId: c, end: true, inputMapping: {e: trigger.source, n: 1, t: true,"
        " z: null, l: [1, workflow.runId], lit: {literal: trigger.source}, literal: workflow.runId,"
        " m: {literal: {literal: x}}}}]"
    )
    action = plan.root.steps["a"].action
    assert isinstance(action, ComponentCall)
    names = {"trigger": {"source": "http"}, "workflow": {"runId": "r1"}}
    assert await action.input.evaluate(given(names)) == {
        "e": "http", "n": 1, "t": True, "z": None, "l": [1, "r1"], "lit": "trigger.source", "literal": "r1",
        "m": {"literal": "x"},
    }  # fmt: skip


async def test_a_mapping_may_be_one_expression() -> None:
    action = (
        parsed("steps: [{id: a, type: mcp, tool: core.x.y, inputMapping: trigger.input, end: true}]")
        .root.steps["a"]
        .action
    )
    assert isinstance(action, ToolCall)
    assert isinstance(action.arguments.node, WorkflowExpression)
    assert await action.arguments.evaluate(given({"trigger": {"input": {"a": 1}}})) == {"a": 1}


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("onSuccess: each", "onSuccess: eech", "/steps/0/onSuccess", "no step `eech`; did you mean `each`"),
        ("onSuccess: each", "onSuccess: both", "/steps/2", "`each` is never reached"),
        ("next: rejected}\n      - {when", "next: stock}\n      - {when", "/steps/0/onFailure/0/next", "another block"),
        ("    maxVisits: 3\n", "", "/steps/1", "parse → pause → parse go round without a bound"),
        ("id: pause", "id: parse", "/steps/1/id", "defined twice"),
        ("id: pause", "id: pau-se", "/steps/1/id", "letters, digits and _"),
        ("id: pause", "id: 'in'", "/steps/1/id", "no step's id"),
        ("sku: item.sku", "sku: itm.sku", SKU, "no name itm"),
        ("sku: item.sku", "sku: (item.sku", SKU, "not valid CEL"),
        ("sku: item.sku", "sku: ''", SKU, "literal"),
        ("sku: item.sku", "sku: {literal: 99999999999999999999}", SKU, "64 bits"),
        ("position: index", "position: steps.answer.output", POSITION, "cannot have run"),
        ("position: index", "position: steps.stock.output", POSITION, "cannot have run"),
        ("position: index", "position: steps.skip.output", POSITION, "steps.both.output"),
        ("size(steps.each", "size(steps.stock", CASE, "use steps.each.output"),
        ("size(steps.each", "size(steps.summarize", CASE, "another branch of `both`"),
        ("output) > 10", "result) > 10", CASE, "steps.each.output.result"),
        ("trigger.input.orderId, timeoutMs", "trigger.body, timeoutMs", CORRELATION, "trigger has no field `body`"),
        ("X-Order: trigger.input.orderId", "X-Order: error.code", "/steps/5/headers/X-Order", "after a failure alone"),
        ("durationMs: 1000", "durationMs: item", "/steps/1/durationMs", "`forEach` alone"),
        ("durationMs: 1000", "durationMs: index", "/steps/1/durationMs", "loops alone"),
        ("durationMs: 1000", "durationMs: 1000\n    until: context.now", "/steps/1", "one of `durationMs`"),
        ("    maxIterations: 50\n", "", "/steps/2/maxIterations", "`maxIterations` is missing"),
        ("    forEach: steps.parse.output.lines\n", "", "/steps/2", "either `forEach` or `while`"),
        ("timeoutMs: 3600000", "timeoutMs: 1e99", "/steps/3/branches/approval/1/callback/timeoutMs", ""),
        ("end: true\n    onSuccess: both", "onSuccess: stock\n    onSuccess: both", "/steps/2/steps/0", "no step ends"),
        ("    onSuccess: answer\n", "", "/steps/4", "does not say what comes next"),
        ("    onSuccess: answer\n", "    onSuccess: answer\n    end: true\n", "/steps/4", "either `onSuccess` or `end"),
        ("      - {next: answer}\n", "", "/steps/3", "when no `when` holds"),
        ("{next: answer}", "{next: answer, end: true}", "/steps/3/transitions/1", "either `next` or"),
        ("{on: failure, code", "{code", "/steps/3/transitions/2", "on: failure"),
        ("code: [INPUT_INVALID, OUTPUT_INVALID], ", "", "/steps/0/onFailure/0", "onFailureDefault"),
        ("statusCode: 201", "statusCode: 99", "/steps/5/statusCode", "from 200 to 599"),
        ("statusCode: 201", "resultFormat: generic", "/steps/5/headers", "httpResponse"),
        ("type: llm", "type: lllm", "/steps/3/branches/summary/0", "`type` is jit, llm, mcp"),
        ("componentId: order-lines", "componentID: order-lines", "/steps/0/componentID", "did you mean `componentId`"),
        ("inputMapping: {sku: item.sku, position: index}", "inputMapping: [item]", SKU[:-4], "map"),
        ("workflowId: order", "workflowId: odrer", "/workflowId", "the file is workflows/order.yaml"),
        ("workflowId: order", "start: nowhere", "/start", "no step `nowhere`"),
        ("type: object", "type: nonsense", "/inputSchema/type", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, at: str, message: str) -> None:
    text = ORDER.replace(old, new, 1)
    assert text != ORDER
    found = problems(text)
    here = [one for one in found if one["path"] == f"{PATH}#{at}"]
    assert here, found
    assert any(message in one["message"] for one in here), here
    assert all(1 <= one["line"] <= text.count("\n") for one in found)


def test_a_problem_is_at_the_line_of_what_is_wrong() -> None:
    text = ORDER.replace("sku: item.sku", "sku: itm.sku").replace("onSuccess: both", "onSuccess: bohth")
    lines = {one["path"].partition("#")[2]: one["line"] for one in problems(text)}
    assert lines[SKU] == line_of(text, "itm.sku")
    assert lines["/steps/2/onSuccess"] == line_of(text, "bohth")


@pytest.mark.parametrize(
    "steps",
    [
        "[]",
        "{}",
        "[{id: a, type: mcp, tool: app.x, maxVisits: 2, onSuccess: b}, {id: b, type: mcp, tool: app.x, onSuccess: a}]",
        "[{id: a, type: control, control: branch, cases: [{when: 'true', next: a}], default: a, maxVisits: 2}]",
    ],
)
def test_a_workflow_without_an_end_is_refused(steps: str) -> None:
    assert problems(f"steps: {steps}")


def test_sizes_are_bounded() -> None:
    step = "{id: s%d, type: llm, componentId: c, onSuccess: s%d}"
    many = ", ".join(step % (number, number + 1) for number in range(300))
    assert "at most 300" in str(problems(f"steps: [{many}, {{id: s300, type: llm, componentId: c, end: true}}]"))
    body = "{id: a, type: llm, componentId: c, end: true}"
    for depth in range(6):
        loop = "type: control, control: loop, while: 'true', maxIterations: 1, end: true"
        body = f"{{id: l{depth}, {loop}, steps: [{body}]}}"
    assert "nest deeper than 5" in str(problems(f"steps: [{body}]"))
    assert "262,144 bytes" in str(problems("# " + "x" * 300_000 + f"\nsteps: [{body}]"))


def test_a_longest_workflow_is_accepted() -> None:
    step = "{id: s%d, type: llm, componentId: c, inputMapping: {a: 'steps.s0.output.x + %d'}, onSuccess: s%d}"
    many = ", ".join(step % (n, n, n + 1) for n in range(1, 299))
    ends = ("{id: s0, type: llm, componentId: c, onSuccess: s1}", "{id: s299, type: llm, componentId: c, end: true}")
    assert len(parsed(f"steps: [{ends[0]}, {many}, {ends[1]}]").step_ids) == 300


def test_all_problems_are_told_at_once() -> None:
    text = ORDER.replace("    onSuccess: answer\n", "").replace("onSuccess: each", "onSuccess: eech")
    text = text.replace("sku: item.sku", "sku: itm.sku")
    found = {(one["path"].partition("#")[2], one["line"]) for one in problems(text)}
    assert found >= {
        ("/steps/0/onSuccess", line_of(text, "onSuccess: eech")),
        (SKU, line_of(text, "itm.sku")),
        ("/steps/4", line_of(text, "- id: ship")),
    }


def test_a_circle_needs_a_bound_and_has_it_from_max_visits() -> None:
    text = """\
steps:
  - {id: ask, type: mcp, tool: core.x.y, maxVisits: 5, onSuccess: ready}
  - id: ready
    type: control
    control: branch
    cases: [{when: steps.ask.output.done, next: done}, {when: steps.ask.visits >= 5, next: late}]
    default: pause
  - {id: pause, type: control, control: wait, durationMs: 10, onSuccess: ask}
  - {id: late, type: control, control: formatResponse, statusCode: 504, end: true}
  - {id: done, type: control, control: formatResponse, body: steps.ask.output, end: true}
"""
    assert parsed(text).root.steps["ask"].max_visits == 5
    assert "go round" in str(problems(text.replace("maxVisits: 5, ", "")))


def test_a_condition_of_a_loop_sees_what_its_steps_left_and_other_steps_do_not() -> None:
    text = """\
steps:
  - id: poll
    type: control
    control: loop
    while: "index == 0 || !steps.ask.output.done"
    maxIterations: 3
    steps: [{id: ask, type: mcp, tool: core.x.y, end: true}]
    end: true
"""
    loop = parsed(text).root.steps["poll"].action
    assert isinstance(loop, Loop)
    assert loop.condition is not None
    assert loop.condition.paths == (("index",), ("steps", "ask", "output", "done"))


def test_the_meaning_of_a_workflow_has_one_hash() -> None:
    assert parsed(ORDER).sha256 == parsed("# a remark\n" + ORDER.replace("{next: answer}", "{ next:   answer }")).sha256
    assert parsed(ORDER).sha256 != parsed(ORDER.replace("maxVisits: 3", "maxVisits: 4")).sha256


@pytest.mark.parametrize(
    "text", ["", "[]", "text", "steps", "steps: 1", "a: &x [*x]", "\tsteps:", "steps: [null]", "1: 2"]
)
def test_other_yaml_is_refused(text: str) -> None:
    assert problems(text)


def test_a_files_name_is_the_workflows_id() -> None:
    plan = parse_workflow(ORDER.replace("workflowId: order\n", "").encode(), path=PATH)
    assert plan.workflow_id == "order"
    with pytest.raises(DefinitionInvalid, match="no workflow's id"):
        parse_workflow(ORDER.encode(), path="workflows/or der.yaml")
