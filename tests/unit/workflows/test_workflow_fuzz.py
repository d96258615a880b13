"""Whatever the file holds, it is a sound plan or a list of problems; whatever the data, an expression gives JSON."""

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.workflows.order_workflow import ORDER
from tests.unit.workflows.random_workflows import Definition, assert_sound, workflows
from uhlp.errors import DefinitionInvalid, ExpressionFailed, ExpressionInvalid
from uhlp.expressions import compile_workflow_expression
from uhlp.workflows import Plan, parse_workflow

PATH = "workflows/w.yaml"
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=1_500, deadline=None, suppress_health_check=list(HealthCheck))


def parsed(raw: bytes) -> Plan | None:
    """The plan, or nothing where the file is refused as it should be."""
    try:
        plan = parse_workflow(raw, path=PATH)
    except DefinitionInvalid as error:
        problems = error.details["problems"]
    else:
        assert_sound(plan)
        return plan
    lines = len(raw.decode(errors="replace").splitlines()) + 1
    assert problems
    assert all(0 < one["line"] <= lines and one["message"] for one in problems)
    return None


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)
SOURCES = [
    *("trigger.input", "steps.a.output", "steps.b.output.x", "steps", "item", "index", "error.code", "true", "null"),
    *("1", "2.5", "'a'", "(", ")", "[", "]", "{", "}", ",", ".", "+", "-", "*", "/", "%", "==", "<", "&&", "||", "!"),
    *("?", ":", "in", "size(", ".map(x, ", ".filter(x, ", "x", "x.y", ".size()", "has(", "matches(", "// ", "\n", "r'"),
    *("duration('1s')", "timestamp(context.now)", ".split(',')", ".join('-')", "9223372036854775807", "-", "'é😀'"),
]
sources = st.lists(st.sampled_from(SOURCES), max_size=14).map(" ".join) | st.text(max_size=30)
FIELDS = [
    *(
        "id",
        "type",
        "control",
        "componentId",
        "tool",
        "onSuccess",
        "onFailure",
        "onFailureDefault",
        "transitions",
        "end",
    ),
    *(
        "steps",
        "branches",
        "cases",
        "default",
        "when",
        "next",
        "code",
        "on",
        "inputMapping",
        "body",
        "literal",
        "forEach",
    ),
    *("while", "maxIterations", "maxVisits", "timeoutMs", "retries", "durationMs", "until", "callback", "start"),
]
words = st.sampled_from(["a", "b", "llm", "jit", "mcp", "control", "branch", "loop", "parallel", "wait", "core.a.b"])
almost_steps = st.recursive(
    words | sources | scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=6),
    max_leaves=25,
)


@st.composite
def spoiled(draw: st.DrawFn) -> Definition:
    """A good workflow in which a few places hold something else."""
    definition = json.loads(json.dumps(draw(workflows())))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(definition)) or [(definition, "steps")]
        container, key = draw(st.sampled_from(places))
        match draw(st.integers(0, 3)):
            case 0:
                container.pop(key, None) if isinstance(container, dict) else container.pop(key)
            case 1:
                container[key] = draw(sources)
            case 2:
                container[key] = draw(almost_steps)
            case _:
                other, other_key = draw(st.sampled_from(places))
                container[key] = json.loads(
                    json.dumps(other[other_key] if other_key in other or isinstance(other, list) else None)
                )
    return definition


def _places(node: Any) -> Any:
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


@st.composite
def spoiled_texts(draw: st.DrawFn) -> bytes:
    """The order's file with some of it cut, doubled or replaced."""
    raw = ORDER.encode()
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 40)))
        raw = (
            raw[:start]
            + draw(st.binary(max_size=6) | sources.map(str.encode) | st.just(raw[start:end] * 2))
            + raw[end:]
        )
    return raw


def check_workflow(definition: Definition) -> None:
    plan = parsed(json.dumps(definition, ensure_ascii=False).encode(errors="replace"))
    assert plan is not None, "it is valid by construction"


def check_spoiled(definition: Definition) -> None:
    parsed(json.dumps(definition, ensure_ascii=False).encode(errors="replace"))


def check_expression(source: str, names: dict[str, Any]) -> None:
    begun = time.process_time()
    try:
        value = compile_workflow_expression(source).evaluate(names)
    except (ExpressionInvalid, ExpressionFailed):
        value = None
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert time.process_time() - begun < 5, "whatever the machine, the bound is some hundred milliseconds"


names = st.fixed_dictionaries(
    {
        "trigger": st.fixed_dictionaries({"input": json_values}),
        "steps": st.fixed_dictionaries({"a": st.fixed_dictionaries({"output": json_values}), "b": json_values}),
        "context": st.just({"now": "2026-01-01T00:00:00Z"}),
    }
)


@QUICK
@given(workflows())
def test_workflows_that_are_valid_by_construction_are_accepted_and_sound(definition: Definition) -> None:
    check_workflow(definition)


@QUICK
@given(spoiled())
def test_spoiled_workflows_are_refused_or_sound(definition: Definition) -> None:
    check_spoiled(definition)


@QUICK
@given(
    spoiled_texts() | st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="replace"))
)
def test_any_bytes_are_refused_or_sound(raw: bytes) -> None:
    parsed(raw)


@QUICK
@given(st.fixed_dictionaries({"steps": st.lists(almost_steps, max_size=4)}))
def test_things_like_steps_are_refused_or_sound(definition: Definition) -> None:
    check_spoiled(definition)


@QUICK
@given(sources, names)
def test_any_expression_of_any_data_gives_json_or_its_error(source: str, data: dict[str, Any]) -> None:
    check_expression(source, data)


@pytest.mark.long
@LONG
@given(workflows(deepest=3))
def test_many_workflows_are_accepted_and_sound(definition: Definition) -> None:
    check_workflow(definition)


@pytest.mark.long
@LONG
@given(spoiled() | st.fixed_dictionaries({"steps": st.lists(almost_steps, max_size=4)}))
def test_many_spoiled_workflows_are_refused_or_sound(definition: Definition) -> None:
    check_spoiled(definition)


@pytest.mark.long
@LONG
@given(spoiled_texts() | st.binary(max_size=2_000))
def test_many_bytes_are_refused_or_sound(raw: bytes) -> None:
    parsed(raw)


@pytest.mark.long
@LONG
@given(sources, names)
def test_many_expressions_of_any_data_give_json_or_their_error(source: str, data: dict[str, Any]) -> None:
    check_expression(source, data)
