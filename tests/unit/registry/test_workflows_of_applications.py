"""An application's workflows are checked against its components, servers and each other, and are in its snapshot."""

from typing import Any

import pytest

from tests.unit.registry.conftest import FILES
from tests.unit.registry.test_application_compiler import compiled, problems

COMPONENTS = (
    FILES["component_registry.yaml"]
    + b"""\
  - componentId: desk
    handlerType: WORKFLOW
    taskDetails: {workflowId: desk}
    tools: [core.runtime.set]
    routeMatcher: {pathPattern: /desk}
"""
)
DESK = b"""\
workflowId: desk
inputSchema: {type: object, properties: {text: {type: string}, urgent: {type: boolean}}, required: [text]}
steps:
  - {id: team, type: llm, componentId: triage, inputMapping: {text: trigger.input.text}, onSuccess: tell}
  - {id: tell, type: mcp, tool: core.runtime.set, onSuccess: more}
  - {id: more, type: control, control: subworkflow, workflowId: more, end: true}
"""
MORE = b"steps: [{id: done, type: control, control: formatResponse, body: trigger.input, end: true}]\n"
WITH_WORKFLOWS: dict[str, bytes | None] = {
    "component_registry.yaml": COMPONENTS,
    "workflows/desk.yaml": DESK,
    "workflows/more.yaml": MORE,
}


def spoiled(old: bytes, new: bytes, *, file: str = "workflows/desk.yaml") -> list[dict[str, Any]]:
    before = WITH_WORKFLOWS[file]
    assert before is not None
    assert old in before
    return problems(WITH_WORKFLOWS | {file: before.replace(old, new)})


def test_a_snapshot_holds_the_workflows_and_the_component_its_own() -> None:
    app = compiled(WITH_WORKFLOWS)
    component = app.components["desk"]
    assert set(app.workflows) == {"desk", "more"}
    assert component.workflow is app.workflows["desk"]
    assert app.components["triage"].workflow is None


def test_a_workflow_says_what_its_components_input_is_unless_the_component_does() -> None:
    component = compiled(WITH_WORKFLOWS).components["desk"]
    assert component.input_schema == component.workflow.input_schema
    assert component.properties_types == {"text": "string", "urgent": "boolean"}
    own = COMPONENTS.replace(b"pathPattern: /desk}\n", b"pathPattern: /desk}\n    inputSchema: {type: object}\n")
    assert compiled(WITH_WORKFLOWS | {"component_registry.yaml": own}).components["desk"].input_schema == {
        "type": "object"
    }


@pytest.mark.parametrize(
    ("old", "new", "file", "line", "message"),
    [
        (b"componentId: triage", b"componentId: triag", "workflows/desk.yaml", 4, "did you mean `triage`"),
        (b"componentId: triage", b"componentId: desk", "workflows/desk.yaml", 4, "control: subworkflow"),
        (b"core.runtime.set", b"community.mail.send", "workflows/desk.yaml", 5, "no server mail in mcpServers"),
        (b"core.runtime.set", b"core.runtime.get", "workflows/desk.yaml", 5, "desk may not call core.runtime.get"),
        (b"workflowId: more", b"workflowId: mor", "workflows/desk.yaml", 6, "no workflow `mor`; did you mean `more`"),
        (b"workflowId: more", b"workflowId: desk", "workflows/desk.yaml", 6, "desk → desk call each other in a circle"),
        (b"onSuccess: tell", b"onSuccess: toll", "workflows/desk.yaml", 4, "no step `toll`"),
    ],
)
def test_what_a_step_names_must_be_there(old: bytes, new: bytes, file: str, line: int, message: str) -> None:
    found = [one for one in spoiled(old, new) if message in one["message"]]
    assert [(one["file"], one["line"]) for one in found] == [(file, line)]


def test_workflows_that_call_each_other_in_a_circle_are_refused() -> None:
    back = b"steps: [{id: again, type: control, control: subworkflow, workflowId: desk, end: true}]\n"
    found = problems(WITH_WORKFLOWS | {"workflows/more.yaml": back})
    assert len(found) == 1
    assert "call each other in a circle" in found[0]["message"]


def test_subworkflows_nest_to_a_bound() -> None:
    def chain(length: int) -> dict[str, bytes | None]:
        step = "steps: [{id: s, type: control, control: subworkflow, workflowId: w%d, end: true}]\n"
        return {f"workflows/w{n}.yaml": (step % (n + 1)).encode() for n in range(length)} | {
            f"workflows/w{length}.yaml": MORE
        }

    assert len(compiled(chain(8)).workflows) == 9
    assert "nest deeper than 8" in problems(chain(9))[0]["message"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"{workflowId: desk}", b"{workflowId: dask}", "no workflow workflows/dask.yaml; did you mean `desk`"),
        (b"{workflowId: desk}", b"{}", "needs workflowId"),
        (b"{workflowId: desk}", b"{workflowId: desk, prompt_template: triage}", "workflowId alone"),
    ],
)
def test_a_workflow_component_names_a_workflow(old: bytes, new: bytes, message: str) -> None:
    assert any(message in one["message"] for one in spoiled(old, new, file="component_registry.yaml"))


def test_a_broken_workflow_is_told_once() -> None:
    found = spoiled(b"onSuccess: tell", b"onSuccess: tell, end: true")
    assert [(one["file"], one["line"]) for one in found] == [("workflows/desk.yaml", 4)]


def test_the_meaning_of_a_component_is_that_of_its_workflow_and_of_those_it_calls() -> None:
    def hashes(changes: dict[str, bytes | None]) -> list[str]:
        components = compiled(WITH_WORKFLOWS | changes).components
        return [components[name].spec_hash for name in ("desk", "triage")]

    before = hashes({})
    assert hashes({"workflows/desk.yaml": b"# a remark\n" + DESK}) == before
    for changed in (
        {"workflows/desk.yaml": DESK.replace(b"tell", b"say")},
        {"workflows/more.yaml": MORE + b"start: done\n"},
    ):
        after = hashes(changed)
        assert after[0] != before[0]
        assert after[1] == before[1]
    assert compiled({}).components["triage"].spec_hash == before[1]


def test_all_tools_of_a_server_may_be_allowed_at_once() -> None:
    app = FILES["app.yaml"] + b"mcpServers: {mail: {url: https://mail.example.com/mcp}}\n"
    registry = COMPONENTS.replace(b"[core.runtime.set]", b'["app.mail.*"]')
    desk = DESK.replace(b"core.runtime.set", b"app.mail.send")
    files = {"app.yaml": app, "component_registry.yaml": registry, "workflows/desk.yaml": desk}
    assert compiled(WITH_WORKFLOWS | files).workflows["desk"].tools == {"app.mail.send"}
    assert "may not call" in problems(WITH_WORKFLOWS | files | {"component_registry.yaml": COMPONENTS})[0]["message"]
