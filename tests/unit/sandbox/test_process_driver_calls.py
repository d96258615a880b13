"""What a worker answers, over its real stream in a real sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from raw_runner import Closed, Json, RawRunner, isolated_driver, new_data_dir, raw_runner, request, sha256, spec

from uhlp.sandbox.drivers.process import ProcessSandbox
from uhlp.tools.core.output_reader import OutputReader

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOUBLE = "def handle(inputs, context):\n    return {'double': inputs['n'] * 2}\n"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ProcessSandbox]:
    driver = await isolated_driver(new_data_dir(tmp_path_factory))
    yield await driver.start(spec(memory="256M"))
    await driver.close()


@pytest_asyncio.fixture(loop_scope="module")
async def runner(sandbox: ProcessSandbox) -> AsyncIterator[RawRunner]:
    runner = await raw_runner(sandbox)
    yield runner
    await runner.worker.kill()
    runner.worker.endpoint.close()


def prompt(template: str = "Sort {{ text }}", **document: Any) -> str:
    return json.dumps({"template": template, "outputFormat": "json", **document})


LABEL_SCHEMA = {"type": "object", "properties": {"label": {"enum": ["a", "b"]}}, "required": ["label"]}


class Model:
    """Answers core.llm.generate with the next of some texts, read as the host reads it; keeps what it was asked."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)
        self.calls: list[Json] = []
        self.reader = OutputReader()

    async def __call__(self, params: Json) -> Json:
        self.calls.append(params)
        text, asked = self.texts.pop(0), params["arguments"]
        reading = await self.reader.read(
            text, asked["outputFormat"], await self.reader.validator(asked.get("outputSchema"))
        )
        read: Json = {"problems": list(reading.problems)} if reading.problems else {"parsed": reading.value}
        return {"result": {"text": text, "usage": {"tokensIn": 7, "tokensOut": 3}, **read}}


async def ask(runner: RawRunner, artifact: str, inputs: Json | None = None) -> Json:
    return await runner.execute(request(artifact, inputs or {"text": "pears"}, handler_type="LLM"), artifact)


# -- the channel


async def test_the_hello_says_what_the_runner_is_and_which_walls_hold(runner: RawRunner) -> None:
    assert set(runner.worker.hello) == {"runner", "python", "pid", "isolation"}
    assert runner.worker.hello["isolation"]["system_calls"]
    assert runner.worker.hello["isolation"]["missing"] == []


async def test_a_missing_artifact_is_named_and_can_be_sent(runner: RawRunner) -> None:
    answer = await runner.call("execute", request(DOUBLE, {"n": 2}))
    assert answer["error"]["code"] == -32001
    assert answer["error"]["message"] == "ARTIFACT_MISSING"
    assert answer["error"]["data"] == {"sha256": sha256(DOUBLE)}
    assert (await runner.run(DOUBLE, {"n": 2}))["data"] == {"double": 4}


async def test_an_artifact_that_does_not_hash_to_its_name_is_refused(runner: RawRunner) -> None:
    params = {"sha256": sha256("other"), "path": "v1/handler.py", "content": DOUBLE}
    assert (await runner.call("artifact.put", params))["error"]["code"] == -32602


async def test_pings_are_answered_and_unknown_methods_refused(runner: RawRunner) -> None:
    assert (await runner.call("ping", {}))["result"] == {}
    assert (await runner.call("surprise", {}))["error"]["code"] == -32601


async def test_a_request_that_cannot_be_read_is_refused_and_the_worker_lives(runner: RawRunner) -> None:
    assert (await runner.call("execute", {"requestId": "r"}))["error"]["code"] == -32602
    assert (await runner.run(DOUBLE, {"n": 1}))["data"] == {"double": 2}


async def test_a_drained_worker_ends(runner: RawRunner) -> None:
    await runner.send({"jsonrpc": "2.0", "method": "drain"})
    with pytest.raises(Closed):
        await runner.receive()
    assert await asyncio.wait_for(asyncio.shield(runner.worker.ended), 20) == "exited"


# -- JIT


async def test_a_handler_sees_its_input_configuration_user_and_time(runner: RawRunner) -> None:
    source = "def handle(inputs, context):\n    return [inputs, context]\n"
    answer = await runner.run(source, {"n": 1}, configuration={"region": "eu"}, userInfo={"id": "u1"})
    inputs, context = answer["data"]
    assert inputs == {"n": 1}
    assert context["configuration"] == {"region": "eu"}
    assert context["userInfo"] == {"id": "u1"}
    assert context["now"].endswith("+00:00")
    assert answer["resultType"] == "generic"
    assert answer["metrics"]["executionTimeMs"] > 0


async def test_another_function_can_be_named(runner: RawRunner) -> None:
    source = "def other(inputs, context):\n    return 'other'\n"
    body = request(source)
    body["context"]["task"]["function"] = "other"
    assert (await runner.execute(body, source))["data"] == "other"


async def test_deoptimize_carries_its_reason(runner: RawRunner) -> None:
    source = "from uhlp_runtime import Deoptimize\ndef handle(i, c):\n    raise Deoptimize('not an order')\n"
    answer = await runner.run(source)
    assert (answer["resultType"], answer["data"]) == ("deoptimize", {"reason": "not an order"})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def handle(i, c):\n    return i['absent']\n", "KeyError: 'absent'"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def handle(i, c:\n", "SyntaxError: "),
        ("x = 1\n", "AttributeError: the artifact has no function 'handle'"),
        ("def handle(i, c):\n    raise SystemExit(3)\n", "SystemExit: 3"),
        ("class E(Exception):\n    def __str__(self): raise self\ndef handle(i, c): raise E\n", "E"),
    ],
)
async def test_a_failing_handler_answers_with_type_message_and_place(
    runner: RawRunner, source: str, message: str
) -> None:
    answer = await runner.run(source)
    assert answer["resultType"] == "error"
    assert answer["data"]["code"] == "HANDLER_FAILED"
    assert answer["data"]["message"].startswith(message)
    assert "uhlp_runner" not in json.dumps(answer["data"])


@pytest.mark.parametrize(
    "expression",
    [
        "float('nan')",
        "{'a': [1, float('-inf')]}",
        "{1: 2}",
        "(n for n in range(3))",
        "object()",
        "2 ** 70",
        "'\\ud800'",
        "'x' * (11 * 2 ** 20)",
    ],
)
async def test_a_result_that_is_not_strict_json_is_refused(runner: RawRunner, expression: str) -> None:
    answer = await runner.run(f"def handle(i, c):\n    return {expression}\n")
    assert (answer["resultType"], answer["data"]["code"]) == ("error", "OUTPUT_INVALID")


async def test_null_values_are_results(runner: RawRunner) -> None:
    assert (await runner.run("def handle(i, c):\n    return {'a': None, 'b': 1.5}\n"))["data"] == {"a": None, "b": 1.5}


async def test_what_a_handler_prints_arrives_as_bounded_logs(runner: RawRunner) -> None:
    source = "import sys\ndef handle(i, c):\n    print('x' * 100_000)\n    sys.stderr.write('careful')\n    return 1\n"
    assert (await runner.run(source))["data"] == 1
    assert [log["level"] for log in runner.logs] == ["info", "warning"]
    assert len(runner.logs[0]["message"]) < 65 * 1024
    assert runner.logs[1]["message"] == "careful"


async def test_a_handler_calls_tools_and_other_frames_wait_their_turn(runner: RawRunner) -> None:
    source = (
        "from uhlp_runtime import call_tool, record_metric\n"
        "def handle(i, c):\n"
        "    record_metric({'name': 'app.custom.seen', 'value': 1})\n"
        "    return call_tool('core.framework.getConfigValue', {'key': 'k'})\n"
    )
    seen: list[Json] = []

    async def answer(params: Json) -> Json:
        seen.append(params)
        await runner.send({"jsonrpc": "2.0", "id": f"ping-{len(seen)}", "method": "ping"})
        return {"result": {"value": len(seen)}}

    runner.tools = answer
    result = await runner.run(source)
    assert result["data"] == {"value": 2}
    assert [(call["name"], call["requestId"]) for call in seen] == [
        ("core.metrics.record", result["requestId"]),
        ("core.framework.getConfigValue", result["requestId"]),
    ]
    assert [(call["tool"], call["count"]) for call in result["metrics"]["mcpCalls"]] == [
        ("core.metrics.record", 1),
        ("core.framework.getConfigValue", 1),
    ]
    assert {stray["id"] for stray in runner.strays} <= {"ping-1", "ping-2"}


async def test_a_refused_tool_can_be_caught_or_becomes_the_answer(runner: RawRunner) -> None:
    async def refuse(params: Json) -> Json:
        return {"error": {"code": -32000, "message": "spent", "data": {"code": "BUDGET_EXHAUSTED", "retryable": True}}}

    runner.tools = refuse
    caught = (
        "import uhlp_runtime as u\ndef handle(i, c):\n    try:\n        u.call_tool('t', {})\n"
        "    except u.ToolFailed as e:\n        return [e.code, e.retryable]\n"
    )
    assert (await runner.run(caught))["data"] == ["BUDGET_EXHAUSTED", True]
    answer = await runner.run("import uhlp_runtime as u\ndef handle(i, c):\n    return u.call_tool('t', {})\n")
    assert answer["data"] == {"code": "BUDGET_EXHAUSTED", "message": "spent", "details": {"retryable": True}}


# -- LLM


async def test_a_prompt_is_rendered_asked_and_read(runner: RawRunner) -> None:
    runner.tools = model = Model('{"label": "a"}')
    artifact = prompt(outputSchema=LABEL_SCHEMA, model="m-1", parameters={"temperature": 0})
    answer = await ask(runner, artifact)
    assert (answer["resultType"], answer["data"]) == ("generic", {"label": "a"})
    assert answer["metrics"]["mcpCalls"][0]["tokenUsage"] == 10
    (call,) = model.calls
    assert call["name"] == "core.llm.generate"
    assert call["requestId"] == answer["requestId"]
    assert call["arguments"] == {
        "messages": [{"role": "user", "content": "Sort pears"}],
        "model": "m-1",
        "parameters": {"temperature": 0},
        "outputFormat": "json",
        "outputSchema": LABEL_SCHEMA,
    }


async def test_examples_are_appended_to_the_prompt(runner: RawRunner) -> None:
    runner.tools = model = Model("{}")
    await ask(runner, prompt("{{ input.text }}", examples=[{"input": {"text": "figs"}, "output": {"label": "b"}}]))
    content = model.calls[0]["arguments"]["messages"][0]["content"]
    assert content == 'pears\n\nExamples:\nInput: {"text":"figs"}\nOutput: {"label":"b"}'


@pytest.mark.parametrize(
    ("output_format", "text", "value"),
    [
        ("json", '```json\n{"label": "a"}\n```', {"label": "a"}),
        ("json", " [1] ", [1]),
        ("yaml", "label: a\nn: 2\n", {"label": "a", "n": 2}),
        ("text", "just words", "just words"),
    ],
)
async def test_answers_are_read_by_output_format(runner: RawRunner, output_format: str, text: str, value: Any) -> None:
    runner.tools = Model(text)
    assert (await ask(runner, prompt(outputFormat=output_format)))["data"] == value


async def test_an_invalid_answer_gets_one_repair_round_with_the_reason(runner: RawRunner) -> None:
    runner.tools = model = Model('{"label": "z"}', '{"label": "b"}')
    assert (await ask(runner, prompt(outputSchema=LABEL_SCHEMA)))["data"] == {"label": "b"}
    messages = model.calls[1]["arguments"]["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[1]["content"] == '{"label": "z"}'
    assert '/label: "z" is not one of "a" or "b"' in messages[2]["content"]


async def test_a_second_invalid_answer_is_a_bad_model_answer(runner: RawRunner) -> None:
    runner.tools = Model("no", "still no")
    answer = await ask(runner, prompt())
    assert (answer["resultType"], answer["data"]["code"]) == ("error", "BAD_MODEL_ANSWER")


async def test_a_tool_error_is_passed_on(runner: RawRunner) -> None:
    async def refuse(params: Json) -> Json:
        return {
            "error": {"code": -32000, "message": "no key", "data": {"code": "NO_MODEL_PROVIDER", "retryable": False}}
        }

    runner.tools = refuse
    answer = await ask(runner, prompt())
    assert answer["data"] == {"code": "NO_MODEL_PROVIDER", "message": "no key", "details": {"retryable": False}}


@pytest.mark.parametrize("template", ["{{ absent }}", "{{ ''.__class__.__mro__ }}", "{{", "{{ 1 / 0 }}"])
async def test_a_prompt_that_cannot_be_rendered_is_an_error(runner: RawRunner, template: str) -> None:
    assert (await ask(runner, prompt(template)))["data"]["code"] == "HANDLER_FAILED"


async def test_many_prompts_are_in_flight_and_finish_in_any_order(runner: RawRunner) -> None:
    artifact = prompt("{{ n }}")
    await runner.put(artifact)
    bodies = [request(artifact, {"n": n}, handler_type="LLM") for n in range(20)]
    for number, body in enumerate(bodies):
        await runner.send({"jsonrpc": "2.0", "id": 1000 + number, "method": "execute", "params": body})
    calls = [await runner.receive() for _ in bodies]
    for call in reversed(calls):
        text = call["params"]["arguments"]["messages"][0]["content"]
        await runner.send({"jsonrpc": "2.0", "id": call["id"], "result": {"text": text, "parsed": int(text)}})
    answers = [await runner.receive() for _ in bodies]
    assert [answer["id"] - 1000 for answer in answers] == list(reversed(range(20)))
    assert [answer["result"]["data"] for answer in answers] == list(reversed(range(20)))


@pytest.mark.parametrize(
    ("template", "inputs", "code"),
    [
        ("{{ 'a' * 20000000 }}", {}, "PAYLOAD_TOO_LARGE"),
        ("{{ 'a' * 60000000 }}", {}, "PAYLOAD_TOO_LARGE"),
        ("{{ 'a' * 2000000000 }}", {}, "SANDBOX_OUT_OF_MEMORY"),
        ("{{ text }}{{ text }}", {"text": "x" * 9_500_000}, "PAYLOAD_TOO_LARGE"),
        ("{{ '\\ud800' }}", {}, "BAD_REQUEST"),
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", {}, "HANDLER_FAILED"),
        ("{% for a in range(99999) %}{% set b = range(99999) | sum %}{% endfor %}", {}, "HANDLER_FAILED"),
        ("{{ 9 ** 99999999 }}", {}, "HANDLER_FAILED"),
        ("{{ 1 | round(999999999, 'ceil') }}", {}, "HANDLER_FAILED"),
        (
            "{% set n = namespace(a=9) %}{% for i in range(99) %}{% set n.a = n.a * n.a %}{% endfor %}",
            {},
            "HANDLER_FAILED",
        ),
        (
            "{% for a in b %}" * 12 + "{{ [" + "[1]," * 200_000 + "] | length }}" + "{% endfor %}" * 12,
            {},
            "HANDLER_FAILED",
        ),
    ],
)
async def test_a_prompt_that_cannot_be_sent_fails_alone(
    runner: RawRunner, template: str, inputs: Json, code: str
) -> None:
    small, large = prompt("{{ n }}"), prompt(template)
    await runner.put(small)
    body = request(small, {"n": 1}, handler_type="LLM")
    await runner.send({"jsonrpc": "2.0", "id": 800, "method": "execute", "params": body})
    waiting = await runner.receive()
    assert (await ask(runner, large, inputs))["data"]["code"] == code
    await runner.send({"jsonrpc": "2.0", "id": waiting["id"], "result": {"text": "1", "parsed": 1}})
    assert (await runner.receive())["result"]["data"] == 1


async def test_a_large_body_of_any_shape_leaves_the_worker_alive(runner: RawRunner) -> None:
    runner.tools = Model(*["1"] * 3)
    for large in ("x" * 9_500_000, [[]] * 1_000_000, list(range(1_400_000))):
        assert (await ask(runner, prompt("{{ n }}"), {"n": 1, "large": large}))["data"] == 1


async def test_prompts_that_fill_the_memory_fail_before_they_end_the_others(runner: RawRunner) -> None:
    artifact = prompt("{{ text }}", outputFormat="text")
    await runner.put(artifact)
    outcomes = []
    for number in range(30):
        body = request(artifact, {"text": "x" * 8_000_000}, handler_type="LLM")
        await runner.send({"jsonrpc": "2.0", "id": number, "method": "execute", "params": body})
        message = await runner.receive()
        outcomes.append(message["id"] if "method" in message else message["result"]["data"]["code"])
    assert outcomes[:3] == ["tool-1", "tool-2", "tool-3"]
    assert outcomes[-1] == "SANDBOX_OUT_OF_MEMORY"
    await runner.send({"jsonrpc": "2.0", "id": outcomes[0], "result": {"text": "t", "parsed": "t"}})
    assert (await runner.receive())["result"]["data"] == "t"


async def test_a_cancelled_prompt_is_answered_and_its_tool_answer_dropped(runner: RawRunner) -> None:
    artifact = prompt()
    await runner.put(artifact)
    body = request(artifact, {"text": "x"}, handler_type="LLM")
    await runner.send({"jsonrpc": "2.0", "id": 900, "method": "execute", "params": body})
    call = await runner.receive()
    await runner.send({"jsonrpc": "2.0", "method": "cancel", "params": {"requestId": body["requestId"]}})
    assert (await runner.receive())["error"]["code"] == -32800
    await runner.send({"jsonrpc": "2.0", "id": call["id"], "result": {"text": "{}"}})
    assert (await runner.call("ping", {}))["result"] == {}


# -- tests of generated code


async def run_tests(runner: RawRunner, handler: str, tests: str) -> Json:
    answer = await runner.execute(request(handler, handler_type="TESTS", tests=tests), handler, tests)
    assert answer["resultType"] == "generic"
    return answer["data"]


async def test_pytest_counts_passes_and_failures_with_their_messages(runner: RawRunner) -> None:
    tests = (
        "import pytest\nfrom handler import handle\nfrom uhlp_runtime import Deoptimize\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_doubles(n):\n    assert handle({'n': n}, {})['double'] == 2 * n\n"
        "def test_wrong():\n    assert handle({'n': 1}, {}) == {'double': 3}\n"
        "def test_broken(no_such_fixture):\n    pass\n"
    )
    result = await run_tests(runner, DOUBLE, tests)
    assert (result["passed"], result["failed"], result["errors"], result["total"]) == (2, 1, 1, 4)
    assert [failure["name"] for failure in result["failures"]] == ["test_wrong", "test_broken"]
    assert "{'double': 3}" in result["failures"][0]["message"]
    assert "1 failed" in result["report"]
    assert len(result["report"]) <= 20_000


@pytest.mark.parametrize(
    "tests", ["x = 1\n", "import no_such_module\n", "raise SystemExit(0)\n", "import pytest\npytest.exit('done', 0)\n"]
)
async def test_tests_that_test_nothing_are_an_error(runner: RawRunner, tests: str) -> None:
    result = await run_tests(runner, DOUBLE, tests)
    assert result["errors"] > 0
    assert result["passed"] == 0
