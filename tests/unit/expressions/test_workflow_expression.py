"""Workflow expressions give JSON of JSON, or say why not; hostile sources and data end quickly."""

import subprocess
import sys
from typing import Any

import pytest

from uhlp.errors import ExpressionFailed, ExpressionInvalid
from uhlp.expressions import compile_workflow_expression

NAMES: dict[str, Any] = {
    "trigger": {
        "input": {"n": 2, "price": 2.5, "name": "Zoë 😀", "tags": ["a", "b"], "none": None, "text": "a,b",
                  "lines": [{"sku": "x", "count": 3}, {"sku": "y", "count": 0}]},
        "source": "http",
    },
    "steps": {
        "price": {"status": "succeeded", "output": {"total": 12.0}, "error": None, "visits": 1},
        "ship": {"status": "not_run", "output": None, "error": None, "visits": 0},
    },
    "context": {"now": "2026-01-01T00:00:00Z"},
    "workflow": {"runId": "r1"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("trigger.input.n", 2),
        ("trigger . input // a remark\n . n", 2),
        ("trigger.input", NAMES["trigger"]["input"]),
        ("trigger.input.n + 1", 3),
        ("double(trigger.input.n) * trigger.input.price", 5.0),
        ("steps.price.output.total > 10.0 && steps.ship.status == 'not_run'", True),
        ("steps.price.output.total > 10 ? 'large' : 'small'", "large"),
        ("has(trigger.input.colour)", False),
        ("has(trigger.input.none)", True),
        ("has(steps.ship.output.parcel)", False),
        ("has(steps.ship.output.parcel) ? steps.ship.output.parcel : 'none'", "none"),
        ("steps.ship.output == null", True),
        ("trigger.input['n']", 2),
        ("trigger.input.lines[1].sku", "y"),
        ("trigger.input.lines.filter(x, x.count > 0).map(x, x.sku)", ["x"]),
        ("trigger.input.lines.exists(x, x.sku == 'y' && x.count == 0)", True),
        ("'b' in trigger.input.tags", True),
        ("size(trigger.input.name) + trigger.input.tags.size()", 7),
        ("'size(' + trigger.input.text", "size(a,b"),
        ("trigger.input.text.split(',').map(x, x.upperAscii()).join('-')", "A-B"),
        ("' x '.trim().substring(0, 1) + string(true) + string(1)", "xtrue1"),
        ("trigger.input.text.matches('^a,[b-z]$')", True),
        ("{'id': workflow.runId, 'l': [1, 2.5, null, {'a': true}]}", {"id": "r1", "l": [1, 2.5, None, {"a": True}]}),
        ("timestamp(context.now) + duration('90m')", "2026-01-01T01:30:00Z"),
        ("duration('90.5s')", "90.5s"),
        ("r'\\d' == '\\\\d'", True),
        ('"""a\n"b" // no remark"""', 'a\n"b" // no remark'),
        ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_expressions_give_json(source: str, value: object) -> None:
    assert compile_workflow_expression(source).evaluate(NAMES) == value


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("trigger.input.colour", "no field `colour` in trigger.input"),
        ("trigger.input.colour == 1", "no field `colour`"),
        ("steps.ship.output.parcel", "steps.ship.output is null"),
        ("trigger.input.name.first", "trigger.input.name is a text"),
        ("trigger.input.n.first", "trigger.input.n is a number"),
        ("trigger.input.n * trigger.input.price", "the types do not fit"),
        ("trigger.input.name + 1", "the types do not fit"),
        ("trigger.input.tags[7]", "no such element"),
        ("1 / 0", "divides by 0"),
        ("9223372036854775807 + 1", "out of range"),
        ("1.0 / 0.0", "not finite"),
        ("double('NaN')", "not finite"),
        ("b'bytes'", "no JSON"),
        ("{1: 2}", "keys are no texts"),
        ("timestamp(trigger.input.name)", "timestamp cannot take this value"),
        ("trigger.input.n.trim()", "trim cannot take"),
        ("trigger.input.text.split(',').join('123456789')", "join cannot take"),
        ("'abc'.substring(2, 1)", "substring cannot take"),
        ("item.sku", "no field `item`"),
    ],
)
def test_what_cannot_be_evaluated_says_why_and_which_expression(source: str, reason: str) -> None:
    with pytest.raises(ExpressionFailed) as caught:
        compile_workflow_expression(source).evaluate(NAMES)
    assert reason in caught.value.details["reason"]
    assert caught.value.details["expression"] == source
    assert source in caught.value.message
    assert "Zoë" not in caught.value.message


def test_a_condition_gives_a_truth_value() -> None:
    assert compile_workflow_expression("trigger.input.n > 1").holds(NAMES) is True
    with pytest.raises(ExpressionFailed, match="no truth value"):
        compile_workflow_expression("trigger.input.n").holds(NAMES)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("", "not valid CEL"),
        ("trigger.input.", "not valid CEL"),
        ("(trigger.input", "not valid CEL"),
        ("'open", "not valid CEL"),
        (".trigger.input", "not valid CEL"),
        ("trigger.`input`", "not valid CEL"),
        ("received", "no name received"),
        ("step.price.output", "no name step"),
        ("steps", "steps.<id>"),
        ("steps['price'].output", "steps.<id>"),
        ("size(steps)", "steps.<id>"),
        ("eval('1')", "no function eval"),
        ("trigger.input.name.lower()", "no function lower"),
        ("Order{id: 1}", "no types"),
        ("trigger.input.lines.map(x, trigger.input.tags.map(y, y))", "inside another macro"),
        ("[1].map(a, a).map(b, b).map(c, c).map(d, d)", "at most 3"),
        ("trigger.input.tags.map(trigger, 1)", "would hide trigger"),
        ("trigger.input.tags.map('x', 1)", "is written list.map"),
        ("trigger.input.tags.all(x, y)", "no name y"),
        ("trigger.input.tags.map(x, 1) + [x]", "no name x"),
        ("trigger.input.name.matches(trigger.input.text)", "with the pattern as it is"),
        ("trigger.input.tags.exists(x, x.matches('a'))", "outside of macros"),
        ("trigger.input.name.matches('" + "a" * 300 + "')", "at most 200"),
        ("'a'.split('') + 'b'.split('') + 'c'.split('')", "at most 2"),
        ("'" + "x" * 2_000 + "'", "the limit is 2000"),
        ("9223372036854775808", "not valid CEL"),
        ("'\\ud800'", "not valid CEL"),
    ],
)
def test_bad_sources_are_refused_with_the_reason(source: str, fault: str) -> None:
    with pytest.raises(ExpressionInvalid) as caught:
        compile_workflow_expression(source)
    assert fault in caught.value.message


def test_an_expression_tells_what_it_names() -> None:
    expression = compile_workflow_expression(
        "steps.a.output.lines.filter(x, x.n > steps.b.output).size() + trigger.input['n'] + int('trigger.source')"
    )
    assert expression.paths == (("steps", "a", "output", "lines"), ("trigger", "input"), ("steps", "b", "output"))


BIG: dict[str, Any] = {
    "trigger": {
        "input": {
            "text": "é" * 10_000_000,
            "words": ["w" * 1_000] * 900,
            "small": [{"n": number} for number in range(10_000)],
            "few": [{"n": number} for number in range(400)],
            "deep": None,
        }
    }
}
for _ in range(1_000):
    BIG["trigger"]["input"]["deep"] = {"a": BIG["trigger"]["input"]["deep"]}


@pytest.mark.parametrize(
    "source",
    [
        "trigger.input.text + 'x'",
        "size(trigger.input.text)",
        "trigger.input.text.split('é')",
        "trigger.input.small.map(x, x.n)",
        "trigger.input.small.filter(x, x.n > 1)",
        "trigger.input.few.map(x, trigger.input.words)",
        "trigger.input.few.map(x, [x, x, x, x]).map(x, [x, x, x, x]).map(x, [x, x, x, x])",
        "trigger.input.words.map(x, x + x + x + x + x + x + x)",
        "trigger.input.words" + " + trigger.input.words" * 80,
        "trigger.input.deep == 1",
        "trigger.input == trigger.input",
    ],
)
def test_too_much_data_is_refused_before_it_is_touched(source: str) -> None:
    with pytest.raises(ExpressionFailed, match="data"):
        compile_workflow_expression(source).evaluate(BIG)


def test_data_of_any_size_is_passed_on_where_it_is_only_named() -> None:
    assert compile_workflow_expression("trigger.input.text").evaluate(BIG) is BIG["trigger"]["input"]["text"]
    assert compile_workflow_expression("trigger.input.few.map(x, x.n)").evaluate(BIG) == list(range(400))


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**400])
def test_numbers_beyond_64_bits_are_refused_and_never_rounded(number: int) -> None:
    with pytest.raises(ExpressionFailed, match="64 bits"):
        compile_workflow_expression("trigger.n == 1").evaluate({"trigger": {"n": number}})
    assert compile_workflow_expression("[trigger.n]").evaluate({"trigger": {"n": 2**64 - 1}}) == [2**64 - 1]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", b"x", {1: 2}, object()])
def test_what_is_no_json_gives_no_other_error(value: object) -> None:
    with pytest.raises(ExpressionFailed):
        compile_workflow_expression("[trigger.n]").evaluate({"trigger": {"n": value}})


@pytest.mark.parametrize(
    "source",
    ["-" * 1_990 + "1", "(" * 990 + "true" + ")" * 990, "[" * 990 + "]" * 990, "!" * 1_990 + "true", "1" + "+1" * 990,
     "{'a':" * 390 + "1" + "}" * 390, "1?" * 660 + "1" + ":1" * 330, "trigger" + ".a" * 990, "size(" * 390 + ")" * 390,
     "'a'" + ".trim()" * 280, "[1]" + "[0]" * 660, "true" + "&&true" * 330],
)  # fmt: skip
def test_the_longest_sources_do_not_hurt_the_process(source: str) -> None:
    program = (
        "from uhlp.errors import UhlpError\nfrom uhlp.expressions import compile_workflow_expression\n"
        f"try: compile_workflow_expression({source!r}).evaluate({{'trigger': {{}}}})\nexcept UhlpError: pass"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
