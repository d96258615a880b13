"""The executor: what goes into a sandbox, and what its answers, failures and refusals become."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from execution_parts import (
    AS_HANDLER,
    AS_PROMPT,
    Parts,
    ScriptedTools,
    answering,
    app_of,
    asking_the_model,
    call_of,
    component_of,
)

from uhlp.errors import (
    BadModelAnswer,
    DeadlineExceeded,
    DefinitionInvalid,
    HandlerFailed,
    ModelProviderUnavailable,
    NoSandboxAvailable,
    OutputInvalid,
    PayloadTooLarge,
    SandboxDied,
    SandboxOutOfMemory,
)
from uhlp.models.execute import ExecuteRequest
from uhlp.sandbox.drivers.fake_worker import Behaviour, FakeWorker, die, echo, hang, run_out_of_memory, send_garbage
from uhlp.sandbox.untrusted import MAX_BODY_BYTES

GENERATION = {"text": "yes", "usage": {"tokensIn": 7, "tokensOut": 3}, "costUsd": 0.25, "model": "m", "latencyMs": 1}
LABEL = {"type": "object", "required": ["label"], "properties": {"label": {"enum": ["a", "b"]}}}

MakeParts = Callable[..., Any]


@pytest.fixture
async def parts() -> AsyncIterator[MakeParts]:
    made: list[Parts] = []

    async def make(behaviour: Behaviour, tools: ScriptedTools | None = None) -> Parts:
        made.append(Parts(behaviour, tools))
        await made[-1].sandboxes.open()
        return made[-1]

    yield make
    for each in made:
        await each.sandboxes.close()


async def test_a_handlers_answer_comes_back_with_its_time(parts: MakeParts) -> None:
    made = await parts(echo)
    result = await made.executor.run(call_of())
    assert (result.outcome, result.data, result.failure, result.error) == ("ok", {"text": "2 apples"}, None, None)
    assert result.latency_ms > 0
    assert result.began_s is not None
    assert not result.is_refusal


@pytest.mark.parametrize("implementation", [AS_PROMPT, AS_HANDLER])
async def test_the_request_is_what_the_protocol_says(parts: MakeParts, implementation: Any) -> None:
    made = await parts(echo)
    call = call_of(
        implementation, source="http", source_details={"method": "POST"}, user_info={"id": "u"}, session_id="s"
    )
    await made.executor.run(call)
    sent = ExecuteRequest.model_validate(made.requests[0])
    assert sent.context.handler_type == ("LLM" if implementation is AS_PROMPT else "JIT")
    assert sent.context.task.artifact.sha256 == implementation.artifact.sha256
    assert sent.request_data.http_details == {"method": "POST"}
    assert sent.context.configuration == {"currency": "EUR"}
    assert sent.context.deadline_ms == 2000


async def test_one_request_may_run_twice_at_once(parts: MakeParts) -> None:
    made = await parts(asking_the_model(lambda answer: ("generic", answer)), ScriptedTools(generate=GENERATION))
    await asyncio.gather(*(made.executor.run(call_of(AS_PROMPT)) for _ in range(3)))
    assert len({request["requestId"] for request in made.requests}) == 3


async def test_a_prompt_may_ask_the_model_and_its_usage_is_known(parts: MakeParts) -> None:
    tools = ScriptedTools(generate=GENERATION)
    made = await parts(asking_the_model(lambda answer: ("generic", answer["result"]["text"])), tools)
    result = await made.executor.run(call_of(AS_PROMPT))
    assert result.data == "yes"
    assert (result.usage.tokens_in, result.usage.tokens_out, result.usage.cost_usd) == (7, 3, 0.25)
    assert [call.tool for call in result.tool_calls] == ["core.llm.generate"]
    context = tools.asked[0][2]
    assert (context.app_id, context.component_id, context.purpose) == ("shop", "parse", "serve")
    assert "core.llm.generate" in context.allowed_tools


async def test_a_handler_may_use_only_what_its_component_lists(parts: MakeParts) -> None:
    tools = ScriptedTools(generate=GENERATION)
    made = await parts(asking_the_model(lambda answer: ("generic", 1)), tools)
    await made.executor.run(call_of(AS_HANDLER, component_of(tools=["core.metrics.record"])))
    assert tools.asked[0][2].allowed_tools == ("core.metrics.record",)


async def test_a_user_whose_roles_name_tools_has_those_alone_and_a_prompt_its_model(parts: MakeParts) -> None:
    tools = ScriptedTools(generate=GENERATION)
    made = await parts(asking_the_model(lambda answer: ("generic", 1)), tools)
    component = component_of(tools=["core.state.getRuntimeValue", "core.state.setRuntimeValue"])
    user = {"userId": "ann", "roles": ["clerk"], "permissions": ["tool:core.state.getRuntimeValue"]}
    for implementation in (AS_HANDLER, AS_PROMPT):
        await made.executor.run(call_of(implementation, component, user_info=user))
    read, generate = "core.state.getRuntimeValue", "core.llm.generate"
    assert [asked[2].allowed_tools for asked in tools.asked] == [(read,), (read, generate)]


async def test_a_handler_that_declines_is_a_deoptimise(parts: MakeParts) -> None:
    made = await parts(answering({"reason": "unknown unit"}, "deoptimize"))
    result = await made.executor.run(call_of())
    assert (result.outcome, result.failure, result.data) == ("deoptimize", "guard", {"reason": "unknown unit"})


def stated(code: Any, message: Any = "why") -> Behaviour:
    return answering({"code": code, "message": message}, "error")


@pytest.mark.parametrize(
    ("implementation", "behaviour", "failure", "error"),
    [
        (AS_HANDLER, stated("HANDLER_FAILED"), "exception", HandlerFailed),
        (AS_HANDLER, stated("SANDBOX_OUT_OF_MEMORY"), "oom", SandboxOutOfMemory),
        (AS_HANDLER, stated("OUTPUT_INVALID"), "schema", OutputInvalid),
        (AS_HANDLER, stated("NO_MODEL_PROVIDER"), "exception", HandlerFailed),
        (AS_HANDLER, stated({"a": 1}, ["b"]), "exception", HandlerFailed),
        (AS_HANDLER, answering("text", "error"), "exception", HandlerFailed),
        (AS_HANDLER, answering({}, "workflowStep"), "sandbox", Exception),
        (AS_HANDLER, answering({}, "httpResponse"), "sandbox", Exception),
        (AS_HANDLER, hang, "timeout", DeadlineExceeded),
        (AS_HANDLER, die, "sandbox", SandboxDied),
        (AS_HANDLER, run_out_of_memory, "oom", SandboxOutOfMemory),
        (AS_HANDLER, send_garbage, "sandbox", SandboxDied),
        (AS_PROMPT, stated("BAD_MODEL_ANSWER"), "model", BadModelAnswer),
        (AS_PROMPT, stated("HANDLER_FAILED"), "exception", HandlerFailed),
        (AS_PROMPT, stated("PAYLOAD_TOO_LARGE"), "exception", PayloadTooLarge),
        (AS_HANDLER, stated("PAYLOAD_TOO_LARGE"), "exception", HandlerFailed),
        (AS_PROMPT, stated("MODEL_PROVIDER_UNAVAILABLE"), "exception", HandlerFailed),
        (AS_PROMPT, answering({"reason": "x"}, "deoptimize"), "sandbox", Exception),
        (AS_PROMPT, hang, "timeout", DeadlineExceeded),
    ],
)
async def test_failures_have_a_reason_and_an_error_made_on_the_host(
    parts: MakeParts, implementation: Any, behaviour: Behaviour, failure: str, error: type[Exception]
) -> None:
    made = await parts(behaviour)
    result = await made.executor.run(call_of(implementation, timeout_s=0.5 if behaviour is hang else 2.0))
    assert (result.outcome, result.failure) == ("failed", failure)
    assert isinstance(result.error, error)
    assert result.error.status in (413, 502, 504)
    assert not result.is_refusal


async def test_of_a_sandboxs_own_words_no_more_than_a_line_leaves_the_server(parts: MakeParts) -> None:
    made = await parts(stated("HANDLER_FAILED", "KeyError: '" + "secret" * 1000))
    error = (await made.executor.run(call_of())).error
    assert error.message.startswith("KeyError: 'secret")
    assert (len(error.message), error.details) == (200, {})


@pytest.mark.parametrize(
    ("tool_error", "failure"),
    [(ModelProviderUnavailable(retry_after_s=9), "model"), (DeadlineExceeded(), "timeout")],
)
async def test_a_tools_own_error_is_the_one_that_counts(parts: MakeParts, tool_error: Any, failure: str) -> None:
    def pass_on(answer: dict[str, Any]) -> tuple[str, Any]:
        return "error", {"code": answer["error"]["data"]["code"], "message": "rewritten by the sandbox"}

    made = await parts(asking_the_model(pass_on), ScriptedTools(generate=tool_error))
    result = await made.executor.run(call_of(AS_PROMPT))
    assert result.error is tool_error
    assert result.failure == failure
    assert not result.is_refusal


@pytest.mark.parametrize(("implementation", "error"), [(AS_HANDLER, OutputInvalid), (AS_PROMPT, BadModelAnswer)])
async def test_an_answer_against_the_schema_is_a_failure_whatever_produced_it(
    parts: MakeParts, implementation: Any, error: type[Exception]
) -> None:
    made = await parts(answering({"label": "c"}))
    result = await made.executor.run(call_of(implementation, component_of(LABEL)))
    assert (result.outcome, result.failure) == ("failed", "schema")
    assert isinstance(result.error, error)
    assert result.error.details["problems"][0]["path"] == "/label"
    made = await parts(answering({"label": "b"}))
    assert (await made.executor.run(call_of(implementation, component_of(LABEL)))).outcome == "ok"


@pytest.mark.parametrize(
    ("result_format", "data", "is_right"),
    [
        ("httpResponse", {"statusCode": 201, "headers": {"X-A": "1"}, "body": {"a": 1}}, True),
        ("httpResponse", {"statusCode": 200, "body": "aGk=", "bodyEncoding": "base64"}, True),
        ("httpResponse", {"statusCode": "200"}, False),
        ("httpResponse", {"statusCode": True}, False),
        ("httpResponse", {"statusCode": 99}, False),
        ("httpResponse", {"statusCode": 200, "headers": {"X-A": 1}}, False),
        ("httpResponse", {"statusCode": 200, "bodyEncoding": ["utf8"]}, False),
        ("httpResponse", {"statusCode": 200, "bodyEncoding": "base64", "body": {}}, False),
        ("httpResponse", {"statusCode": 200, "exec": "x"}, False),
        ("httpResponse", "text", False),
        ("error", {"code": "NO_STOCK", "message": "none left", "details": {"sku": 1}}, True),
        ("error", {"code": "", "message": "none left"}, False),
        ("error", {"code": "NO_STOCK"}, False),
        ("error", {"code": "NO_STOCK", "message": "m", "details": []}, False),
        ("error", None, False),
    ],
)
async def test_results_have_the_shape_of_their_format(
    parts: MakeParts, result_format: str, data: Any, is_right: bool
) -> None:
    made = await parts(answering(data))
    result = await made.executor.run(call_of(component=component_of(expectedResultFormat=result_format)))
    if is_right:
        assert (result.outcome, result.result_type, result.data) == ("ok", result_format, data)
    else:
        assert (result.outcome, result.failure) == ("failed", "schema")


async def test_no_sandbox_is_a_refusal_that_says_nothing_of_the_handler(parts: MakeParts) -> None:
    made = await parts(echo)
    await made.sandboxes.close()
    result = await made.executor.run(call_of())
    assert (result.outcome, result.failure) == ("failed", "sandbox")
    assert result.is_refusal
    began = asyncio.Event()

    async def hang_when_begun(worker: FakeWorker, request: dict[str, Any]) -> None:
        began.set()

    made = await parts(hang_when_begun)
    pool = {"sandboxPools": {"pools": [{"poolName": "default", "maxInstances": 1}]}}
    first = asyncio.ensure_future(made.executor.run(call_of(app=app_of(**pool), timeout_s=1.0)))
    await began.wait()
    second = await made.executor.run(call_of(app=app_of(**pool), timeout_s=0.05))
    assert isinstance(second.error, NoSandboxAvailable)
    assert (await first).failure == "timeout"


async def test_a_request_that_no_sandbox_takes_says_nothing_of_the_handler(parts: MakeParts) -> None:
    made = await parts(echo)
    result = await made.executor.run(call_of(input={"text": "x" * MAX_BODY_BYTES}))
    assert isinstance(result.error, PayloadTooLarge)
    assert result.is_refusal
    assert not made.requests


async def test_a_pool_that_is_not_there_is_a_refusal_with_words(parts: MakeParts) -> None:
    made = await parts(echo)
    result = await made.executor.run(call_of(component=component_of(targetPoolName="gpu")))
    assert isinstance(result.error, DefinitionInvalid)
    assert "gpu" in result.error.message


async def test_a_cancelled_run_frees_its_worker(parts: MakeParts) -> None:
    inside = asyncio.Event()

    async def enter(worker: FakeWorker, request: dict[str, Any]) -> None:
        inside.set()

    made = await parts(enter)
    running = asyncio.ensure_future(made.executor.run(call_of()))
    await inside.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert made.sandboxes.status()[0]["busy"] == 0


@pytest.mark.parametrize(("implementation", "label"), [(AS_PROMPT, "prompt@stable"), (AS_HANDLER, "jit@v3")])
def test_implementations_have_a_label(implementation: Any, label: str) -> None:
    assert implementation.label == label


async def test_a_prompt_runs_beside_a_pool_whose_image_is_the_users_own(parts: MakeParts) -> None:
    own = {"pools": [{"poolName": "node", "dockerImage": "registry.example/our-node:3"}]}
    registry = {"components": [{"componentId": "parse", "targetPoolName": "node"}]}
    app = app_of(sandboxPools=own, initialComponentRegistry=registry)
    assert [pool.pool_name for pool in app.definition.pools_in_use] == ["node", "prompts"]
    made = await parts(echo)
    component = component_of(targetPoolName="node")
    for implementation in (AS_HANDLER, AS_PROMPT):
        assert (await made.executor.run(call_of(implementation, component, app=app))).outcome == "ok"
    images = {sandbox.spec.pool.pool_name: sandbox.spec.pool.docker_image for sandbox in made.driver.sandboxes}
    assert images == {"node": "registry.example/our-node:3", "prompts": "uhlp-runner"}
