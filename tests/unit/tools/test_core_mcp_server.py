import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from structlog.testing import capture_logs

from uhlp.clock import FakeClock
from uhlp.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    InternalError,
    NoModelProvider,
    NotRecorded,
    PermissionDenied,
    ToolNotFound,
    ValidationFailed,
)
from uhlp.llm import GenerateRequest, Generation, LlmSettings, ModelGateway
from uhlp.metering import NullMeter
from uhlp.models.definition import LlmConfig, ModelBudget
from uhlp.tools import CoreMCPServer, ToolContext, ToolSession
from uhlp.tools.core.output_reader import OutputReader
from uhlp.tracing import TraceContext

GENERATE = "core.llm.generate"
EVERY_TOOL = (GENERATE, "core.metrics.record", "core.framework.getConfigValue", "core.framework.logFrameworkMessage")
ANSWERS = {
    "a": '{"desk": "billing"}',
    "fenced": 'Sure:\n```json\n{"desk": "billing"}\n```',
    "only-fenced": '```json\n{"desk": "billing"}\n```\n',
    "yaml": "desk: billing\n",
    "null": "null",
}


class RecordedMetrics:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    async def record_metric(self, metric_data: Mapping[str, Any]) -> None:
        self.records.append(dict(metric_data))


class BrokenMetrics:
    async def record_metric(self, metric_data: Mapping[str, Any]) -> None:
        raise RuntimeError("a fault of our own")


class NotingGateway(ModelGateway):
    """Remembers what it was asked."""

    asked: list[GenerateRequest]

    async def generate(self, request: GenerateRequest, *, timeout_s: float | None = None) -> Generation:
        self.asked.append(request)
        return await super().generate(request, timeout_s=timeout_s)


class Desk:
    """A server over a recording in which every answer took 100 tokens in and 20 out, and cost 0.5 dollars."""

    def __init__(self, directory: Path, *, priced: bool = True) -> None:
        recording = directory / "answers.jsonl"
        figures = {"tokens_in": 100, "tokens_out": 20, **({"cost_usd": 0.5} if priced else {}), "latency_ms": 250.0}
        rows = [{"input": key, "output": text, **figures} for key, text in ANSWERS.items()]
        recording.write_text("\n".join(map(json.dumps, rows)))
        replay = {"kind": "replay", "path": str(recording)}
        self.clock = FakeClock()
        self.metrics = RecordedMetrics()
        self.gateway = NotingGateway(
            settings=LlmSettings.model_validate({"providers": {"main": replay, "second": replay}}),
            clock=self.clock,
            meter=NullMeter(),
        )
        self.gateway.asked = []
        self.server = CoreMCPServer(gateway=self.gateway, metrics=self.metrics, clock=self.clock, meter=NullMeter())

    def context(self, **changed: Any) -> ToolContext:
        given: dict[str, Any] = {
            "app_id": "support",
            "component_id": "triage",
            "request_id": "r1",
            "trace_id": "t1",
            "deadline": self.clock.monotonic() + 30,
            "allowed_tools": EVERY_TOOL,
            "llm": LlmConfig(),
            "configuration": {"tone": "kind"},
            "purpose": "serve",
        }
        return ToolContext(**{**given, **changed})

    async def call(self, name: str, arguments: dict[str, Any], **changed: Any) -> dict[str, Any]:
        return await self.server.call_tool(name, arguments, self.context(**changed))


async def test_a_model_is_asked_within_the_trace_of_the_request(desk: Desk) -> None:
    trace = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", state="rojo=1")
    await desk.call(GENERATE, {"prompt": "Which desk?", "replayInput": "a"}, trace=trace)
    headers = desk.gateway.asked[0].headers
    assert headers["traceparent"].startswith(f"00-{trace.trace_id}-")
    assert headers["tracestate"] == "rojo=1"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


async def test_a_generation_says_what_it_took(desk: Desk) -> None:
    assert await desk.call(GENERATE, {"prompt": "Which desk?", "replayInput": "a"}) == {
        "text": '{"desk": "billing"}',
        "usage": {"tokensIn": 100, "tokensOut": 20},
        "costUsd": 0.5,
        "model": "recorded",
        "latencyMs": 250.0,
    }


@pytest.mark.parametrize(
    ("replay_input", "output_format", "parsed"),
    [
        ("a", "json", {"desk": "billing"}),
        ("only-fenced", "json", {"desk": "billing"}),
        ("yaml", "yaml", {"desk": "billing"}),
        ("null", "json", None),
        ("yaml", "text", "desk: billing\n"),
    ],
)
async def test_an_answer_of_the_format_is_parsed(
    desk: Desk, replay_input: str, output_format: str, parsed: Any
) -> None:
    arguments = {"prompt": "?", "replayInput": replay_input, "outputFormat": output_format}
    assert (await desk.call(GENERATE, arguments))["parsed"] == parsed


@pytest.mark.parametrize(
    ("replay_input", "schema"),
    [("fenced", None), ("yaml", None), ("a", {"required": ["team"]}), ("null", {"type": "object"})],
)
async def test_an_answer_that_is_not_what_was_asked_for_is_given_as_text_alone(
    desk: Desk, replay_input: str, schema: dict[str, Any] | None
) -> None:
    arguments = {"prompt": "?", "replayInput": replay_input, "outputFormat": "json", "outputSchema": schema}
    result = await desk.call(GENERATE, arguments)
    assert result["text"] == ANSWERS[replay_input]
    assert "parsed" not in result
    assert all(set(problem) == {"path", "message"} and problem["message"] for problem in result["problems"])


async def test_what_is_wrong_with_an_answer_is_said_by_its_place(desk: Desk) -> None:
    schema = {"properties": {"desk": {"enum": ["parcels"]}}}
    arguments = {"prompt": "?", "replayInput": "a", "outputFormat": "json", "outputSchema": schema}
    (problem,) = (await desk.call(GENERATE, arguments))["problems"]
    assert problem["path"] == "/desk"
    assert "billing" in problem["message"]
    assert "problems" not in await desk.call(GENERATE, {**arguments, "outputSchema": None})


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"q": "a" * 40 + "!"}),
        "```json\n" + " " * 1_000_000 + "x",
        " " * 1_000_000 + "```",
        "```\n" * 200_000,
        "- a\n" * 20_000,
    ],
)
@pytest.mark.parametrize("output_format", ["json", "yaml"])
async def test_no_text_takes_the_reader_long(text: str, output_format: str) -> None:
    reader = OutputReader()
    validator = await reader.validator({"properties": {"q": {"pattern": "^(a+)+$"}}})
    assert (await reader.read(text, output_format, validator)).problems or output_format == "yaml"


async def test_a_recording_is_searched_for_the_input_of_the_execution(desk: Desk) -> None:
    result = await desk.call(GENERATE, {"prompt": "?"}, input="a")
    assert result["text"] == ANSWERS["a"]


@pytest.mark.parametrize(
    ("name", "arguments", "path"),
    [
        (GENERATE, {}, "/prompt"),
        (GENERATE, {"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "/prompt"),
        (GENERATE, {"messages": [{"role": "robot", "content": "b"}]}, "/messages/0/role"),
        (GENERATE, {"prompt": 3}, "/prompt"),
        (GENERATE, {"prompt": "a", "temperature": 1}, ""),
        (GENERATE, {"prompt": "a", "outputSchema": {"properties": {"x": {"type": "no"}}}}, "/outputSchema"),
        (GENERATE, {"prompt": "a", "outputSchema": {"$ref": "http://elsewhere/schema"}}, "/outputSchema"),
        ("core.metrics.record", {"metric_name": "uhlp_mine", "metric_type": "counter", "value": 1}, "/metric_name"),
        ("core.metrics.record", {"metric_name": "app.custom.x", "metric_type": "counter"}, ""),
        ("core.framework.getConfigValue", {"key": ""}, "/key"),
        ("core.framework.logFrameworkMessage", {"message": "x" * 2001}, "/message"),
    ],
)
async def test_arguments_that_do_not_fit_are_named(desk: Desk, name: str, arguments: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationFailed) as raised:
        await desk.call(name, arguments)
    assert raised.value.details["problems"][0]["path"].startswith(path)


@pytest.mark.parametrize(
    "name", [GENERATE, "core.framework.getConfigValue", "core.state.setRuntimeValue", "x" * 10_000]
)
async def test_a_tool_that_is_not_allowed_is_not_found(desk: Desk, name: str) -> None:
    with pytest.raises(ToolNotFound) as raised:
        await desk.call(name, {"prompt": "a"}, allowed_tools=())
    assert len(raised.value.message) < 300


@pytest.mark.parametrize(
    ("arguments", "llm", "asked"),
    [
        ({}, LlmConfig(), (None, None)),
        ({}, LlmConfig(provider="second", model="big"), ("second", "big")),
        ({"model": "own"}, LlmConfig(provider="second", model="big"), ("second", "own")),
        ({"model": None, "provider": None}, LlmConfig(model="big"), (None, "big")),
        ({"provider": "main"}, LlmConfig(provider="second", model="big"), ("main", None)),
        ({"model": "main/own"}, LlmConfig(provider="second", model="big"), (None, "main/own")),
        ({"model": "vendor/own"}, LlmConfig(provider="second"), ("second", "vendor/own")),
    ],
)
async def test_the_caller_then_the_application_chooses_the_model(
    desk: Desk, arguments: dict[str, Any], llm: LlmConfig, asked: tuple[str | None, str | None]
) -> None:
    await desk.call(GENERATE, {"prompt": "?", "replayInput": "a", **arguments}, llm=llm)
    assert (desk.gateway.asked[0].provider, desk.gateway.asked[0].model) == asked


async def test_parameters_of_the_application_stand_below_those_of_the_call(desk: Desk) -> None:
    llm = LlmConfig(parameters={"temperature": 0, "max_tokens": 50})
    arguments = {"prompt": "?", "replayInput": "a", "parameters": {"temperature": 1}}
    await desk.call(GENERATE, arguments, llm=llm)
    await desk.call(GENERATE, arguments, llm=llm, purpose="coder")
    assert [request.parameters for request in desk.gateway.asked] == [
        {"temperature": 1, "max_tokens": 50},
        {"temperature": 1},
    ]


async def test_a_call_after_the_deadline_does_not_reach_the_model(desk: Desk) -> None:
    with pytest.raises(DeadlineExceeded):
        await desk.call(GENERATE, {"prompt": "?", "replayInput": "a"}, deadline=desk.clock.monotonic())
    assert desk.gateway.asked == []


@pytest.mark.parametrize("budget", [ModelBudget(tokens_per_day=240), ModelBudget(usd_per_day=1.0)])
async def test_a_spent_budget_refuses_until_midnight(desk: Desk, budget: ModelBudget) -> None:
    llm = LlmConfig(budget=budget)
    arguments = {"prompt": "?", "replayInput": "a"}
    await desk.call(GENERATE, arguments, llm=llm)
    await desk.call(GENERATE, arguments, llm=llm)
    with pytest.raises(BudgetExhausted) as raised:
        await desk.call(GENERATE, arguments, llm=llm)
    assert raised.value.retry_after_s == 86_400 - desk.clock.now() % 86_400
    await desk.call(GENERATE, arguments, llm=llm, app_id="another")
    desk.clock.advance(raised.value.retry_after_s)
    await desk.call(GENERATE, arguments, llm=llm)


async def test_every_model_call_is_counted_by_what_it_is_for(desk: Desk) -> None:
    llm = LlmConfig(budget=ModelBudget(tokens_per_day=360))
    for purpose in ("serve", "coder", "serve"):
        await desk.call(GENERATE, {"prompt": "?", "replayInput": "a"}, llm=llm, purpose=purpose)
    with pytest.raises(BudgetExhausted):
        await desk.call(GENERATE, {"prompt": "?", "replayInput": "a"}, llm=llm, purpose="serve")
    counted = {key.kind: use for key, use in desk.server.budgets.usage.changed()}
    assert sorted(counted) == ["coder", "serve"]
    serve = counted["serve"]
    assert (serve.calls, serve.refused, serve.tokens, serve.usd, serve.seconds) == (2, 1, 240, 1.0, 0.5)


async def test_a_budget_in_dollars_without_a_price_is_said_once(tmp_path: Path) -> None:
    desk = Desk(tmp_path, priced=False)
    llm = LlmConfig(budget=ModelBudget(usd_per_day=1.0))
    with capture_logs() as logs:
        for _ in range(2):
            result = await desk.call(GENERATE, {"prompt": "?", "replayInput": "a"}, llm=llm)
    assert result["costUsd"] is None
    assert [entry["event"] for entry in logs] == ["budget_without_price"]


async def test_a_metric_carries_the_callers_own_name(desk: Desk) -> None:
    record = {"metric_name": "app.custom.sorted", "metric_type": "counter", "value": 1, "labels": {"desk": "b"}}
    assert await desk.call("core.metrics.record", record, allowed_tools=()) == {"accepted": 1}
    labels = {"desk": "b", "appId": "support", "componentId": "triage"}
    assert desk.metrics.records == [{**record, "labels": labels}]


@pytest.mark.parametrize("purpose", ["shadow", "replay"])
async def test_what_an_execution_on_trial_records_has_not_happened(desk: Desk, purpose: str) -> None:
    record = {"metric_name": "app.custom.orders", "metric_type": "counter", "value": 1}
    assert await desk.call("core.metrics.record", record, purpose=purpose) == {"accepted": 1}
    assert desk.metrics.records == []


@pytest.mark.parametrize("label", ["appId", "componentId"])
async def test_a_metric_cannot_be_recorded_in_another_name(desk: Desk, label: str) -> None:
    record = {"metric_name": "app.custom.x", "metric_type": "counter", "value": 1, "labels": {label: "other"}}
    with pytest.raises(PermissionDenied, match=label):
        await desk.call("core.metrics.record", record)
    assert desk.metrics.records == []


async def test_configuration_is_the_callers_own_or_its_default(desk: Desk) -> None:
    get = "core.framework.getConfigValue"
    assert await desk.call(get, {"key": "tone"}) == {"found": True, "value": "kind"}
    assert await desk.call(get, {"key": "absent"}) == {"found": False, "value": None}
    assert await desk.call(get, {"key": "absent", "default": [1]}) == {"found": False, "value": [1]}


async def test_a_log_line_says_where_it_comes_from(desk: Desk) -> None:
    with capture_logs() as logs:
        await desk.call("core.framework.logFrameworkMessage", {"message": "sorted", "level": "warning"})
    line = logs[0]
    assert (line["log_level"], line["message"]) == ("warning", "sorted")
    assert (line["app_id"], line["component_id"], line["trace_id"]) == ("support", "triage", "t1")


async def test_a_fault_of_our_own_is_an_internal_error_without_its_text(desk: Desk) -> None:
    server = CoreMCPServer(gateway=desk.gateway, metrics=BrokenMetrics(), clock=desk.clock, meter=NullMeter())
    record = {"metric_name": "app.custom.x", "metric_type": "counter", "value": 1}
    with capture_logs(), pytest.raises(InternalError) as raised:
        await server.call_tool("core.metrics.record", record, desk.context())
    assert "fault of our own" not in raised.value.message


async def test_every_tool_has_schemas_that_its_results_match(desk: Desk) -> None:
    listed = {tool["name"]: tool for tool in await desk.server.list_tools(desk.context())}
    assert sorted(listed) == sorted(EVERY_TOOL)
    calls: dict[str, dict[str, Any]] = {
        GENERATE: {"prompt": "?", "replayInput": "a", "outputFormat": "json"},
        "core.metrics.record": {"metric_name": "app.custom.x", "metric_type": "gauge", "value": 0.5},
        "core.framework.getConfigValue": {"key": "tone"},
        "core.framework.logFrameworkMessage": {"message": "m"},
    }
    with capture_logs():
        for name, arguments in calls.items():
            jsonschema.Draft202012Validator.check_schema(listed[name]["inputSchema"])
            jsonschema.validate(arguments, listed[name]["inputSchema"])
            jsonschema.validate(await desk.call(name, arguments), listed[name]["outputSchema"])


async def test_a_session_sums_what_its_execution_took(desk: Desk) -> None:
    session = ToolSession(desk.server, desk.context())
    await session.call(GENERATE, {"prompt": "?", "replayInput": "a"})
    await session.call(GENERATE, {"prompt": "?", "replayInput": "yaml"})
    await session.call("core.framework.getConfigValue", {"key": "tone"})
    usage = session.usage
    assert (usage.tokens_in, usage.tokens_out, usage.cost_usd, usage.model_calls) == (200, 40, 1.0, 2)
    assert [(call.tool, call.outcome, call.tokens) for call in session.calls] == [
        (GENERATE, "ok", 120),
        (GENERATE, "ok", 120),
        ("core.framework.getConfigValue", "ok", 0),
    ]
    assert session.last_error is None


async def test_a_session_keeps_its_last_error(desk: Desk) -> None:
    session = ToolSession(desk.server, desk.context())
    with pytest.raises(NotRecorded):
        await session.call(GENERATE, {"prompt": "?", "replayInput": "never asked"})
    assert isinstance(session.last_error, NotRecorded)
    assert session.calls[0].outcome == "NOT_RECORDED"


async def test_without_a_provider_a_call_says_what_to_set(desk: Desk) -> None:
    gateway = ModelGateway(settings=LlmSettings(), clock=desk.clock, meter=NullMeter())
    server = CoreMCPServer(gateway=gateway, metrics=desk.metrics, clock=desk.clock, meter=NullMeter())
    with pytest.raises(NoModelProvider, match="OPENAI_API_KEY"):
        await server.call_tool(GENERATE, {"prompt": "?"}, desk.context())
