"""One worker as the host sees it: artifacts, tools, checks on what it says."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sandbox_calls import ARTIFACTS, SHA256, execute_request
from structlog.testing import capture_logs

from uhlp.clock import SystemClock
from uhlp.errors import (
    BudgetExhausted,
    DeadlineExceeded,
    ExecutionFailed,
    OutputInvalid,
    PayloadTooLarge,
    SandboxDied,
    SandboxOutOfMemory,
)
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import Behaviour, FakeWorker, hang, response, run_out_of_memory
from uhlp.sandbox.frames_client import MAX_TOOL_CALLS, MAX_TOOL_CALLS_AT_ONCE, MAX_UNASKED_FRAMES
from uhlp.sandbox.open_client import open_client

SPEC = SandboxSpec(app_id="shop", pool=PoolDefinition(pool_name="default"), group="serving")

Open = Callable[..., Awaitable[tuple[WorkerClient, FakeWorker]]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    drivers: list[FakeDriver] = []

    async def open_one(
        behaviour: Behaviour | None = None, lane: Any = "handler", **settings: Any
    ) -> tuple[WorkerClient, FakeWorker]:
        driver = FakeDriver(behaviour)
        drivers.append(driver)
        sandbox = await driver.start(SPEC)
        worker = await sandbox.start_worker()
        client = await open_client(worker, sandbox, SandboxSettings(**settings), SystemClock())
        client.lane = lane
        return client, driver.workers[0]

    yield open_one
    for driver in drivers:
        await driver.close()


async def run(client: WorkerClient, request: dict | None = None, *, call_tool: Any = None, timeout_s: float = 2) -> Any:
    request = request or execute_request({"a": 1})
    return await client.execute(request, artifacts=ARTIFACTS, call_tool=call_tool, timeout_s=timeout_s)


async def test_code_is_sent_ahead_once(opened: Open) -> None:
    client, worker = await opened()
    assert (await run(client))["data"] == {"a": 1}
    await run(client)
    assert worker.received == ["artifact.put", "execute", "execute"]


async def test_code_that_the_runner_dropped_is_sent_again(opened: Open) -> None:
    client, worker = await opened()
    await run(client)
    worker.artifacts.clear()
    assert (await run(client))["data"] == {"a": 1}
    assert worker.received == ["artifact.put", "execute", "execute", "artifact.put", "execute"]


async def test_a_runner_that_never_has_the_code_is_not_asked_forever(opened: Open) -> None:
    client, worker = await opened()
    worker.artifacts = type("Forgetful", (dict,), {"__setitem__": lambda *_: None})()
    with pytest.raises(ExecutionFailed, match="ARTIFACT_MISSING"):
        await run(client)


async def test_a_task_whose_content_was_not_given_fails_without_touching_the_worker(opened: Open) -> None:
    client, worker = await opened()
    with pytest.raises(ExecutionFailed, match=r"handler\.py"):
        await client.execute(execute_request(), artifacts={}, call_tool=None, timeout_s=2)
    assert worker.received == []
    assert client.broken is None


async def test_tool_calls_are_answered_and_errors_travel_as_codes(opened: Open) -> None:
    async def ask(worker: FakeWorker, request: dict) -> dict:
        good = await worker.call_tool(request["requestId"], "core.echo", {"x": 1})
        bad = await worker.call_tool(request["requestId"], "core.fail", {})
        broken = await worker.call_tool(request["requestId"], "core.broken", {})
        return response(request, {"good": good["result"], "bad": bad["error"], "broken": broken["error"]})

    async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if name == "core.fail":
            raise BudgetExhausted()
        if name == "core.broken":
            raise ZeroDivisionError
        return {"said": arguments}

    client, _ = await opened(ask)
    data = (await run(client, call_tool=call_tool))["data"]
    assert data["good"] == {"said": {"x": 1}}
    assert data["bad"]["code"] == -32000
    assert data["bad"]["data"] == {"code": "BUDGET_EXHAUSTED", "retryable": True}
    assert data["broken"]["data"]["code"] == "INTERNAL_ERROR"


@pytest.mark.parametrize(
    "params",
    [
        {"requestId": "another", "name": "core.echo", "arguments": {}},
        {"requestId": ["r"], "name": "core.echo", "arguments": {}},
        {"requestId": "mine", "name": 7, "arguments": {}},
        {"requestId": "mine", "name": "core.echo", "arguments": "text"},
        {"requestId": "mine", "name": "n" * 300, "arguments": {}},
        {"requestId": "mine"},
        "text",
        None,
    ],
    ids=range(8),
)
async def test_tool_calls_that_name_another_request_or_make_no_sense_are_refused(opened: Open, params: Any) -> None:
    async def ask(worker: FakeWorker, request: dict) -> dict:
        worker._answers["t"] = asyncio.get_running_loop().create_future()
        worker.send({"id": "t", "method": "tools/call", "params": params})
        return response(request, (await worker._answers["t"])["error"]["code"])

    calls: list[str] = []

    async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        calls.append(name)
        return {}

    client, _ = await opened(ask)
    answer = await run(client, execute_request(request_id="mine"), call_tool=call_tool)
    assert answer["data"] in (-32000, -32602)
    assert calls == []


async def test_a_tool_call_for_a_finished_request_is_refused(opened: Open) -> None:
    finished: list[str] = []

    async def ask_late(worker: FakeWorker, request: dict) -> dict:
        if not finished:
            finished.append(request["requestId"])
            return response(request, None)
        return response(request, await worker.call_tool(finished[0], "core.echo", {}))

    async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {}

    client, _ = await opened(ask_late)
    await run(client, call_tool=call_tool)
    assert (await run(client, call_tool=call_tool))["data"]["error"]["data"]["code"] == "TOOL_NOT_FOUND"


async def test_a_tool_call_ends_with_its_execution(opened: Open) -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    async def ask_and_leave(worker: FakeWorker, request: dict) -> dict:
        asked = asyncio.ensure_future(worker.call_tool(request["requestId"], "core.slow", {}))
        await started.wait()
        asked.cancel()
        return response(request, "left")

    client, _ = await opened(ask_and_leave)
    assert (await run(client, call_tool=call_tool))["data"] == "left"
    await asyncio.wait_for(ended.wait(), 30)


def body(**changes: Any) -> Behaviour:
    async def answer(worker: FakeWorker, request: dict) -> dict:
        made = {**response(request, 1), **changes}
        return {name: value for name, value in made.items() if value is not ...}

    return answer


@pytest.mark.parametrize(
    "behaviour",
    [
        body(requestId="another"),
        body(requestId=None),
        body(resultType="shell"),
        body(resultType=["generic"]),
        body(data=...),
        body(metrics=[]),
        body(metrics={"executionTimeMs": -1}),
        body(metrics={"executionTimeMs": "fast"}),
        body(metrics={"executionTimeMs": True}),
        body(metrics={"mcpCalls": {}}),
        body(metrics={"mcpCalls": [1]}),
    ],
    ids=range(11),
)
async def test_an_answer_of_the_wrong_shape_ends_the_worker(opened: Open, behaviour: Behaviour) -> None:
    client, worker = await opened(behaviour)
    with pytest.raises(SandboxDied):
        await run(client)
    assert client.broken
    assert not worker.is_alive


async def test_an_answer_without_metrics_is_accepted(opened: Open) -> None:
    client, _ = await opened(body(metrics=...))
    assert (await run(client))["data"] == 1


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("data", ["x" * (10 * 1024 * 1024), nested(65)], ids=["large", "deep"])
async def test_an_answer_that_is_too_large_or_too_deep_is_invalid_output(opened: Open, data: Any) -> None:
    client, worker = await opened(body(data=data))
    with pytest.raises(OutputInvalid):
        await run(client)
    assert worker.is_alive


async def test_a_request_that_is_too_large_is_refused_and_the_worker_lives(opened: Open) -> None:
    client, _ = await opened()
    with pytest.raises(PayloadTooLarge):
        await run(client, execute_request({"text": "x" * (10 * 1024 * 1024)}))
    assert (await run(client))["data"] == {"a": 1}


async def test_a_request_of_too_many_values_is_refused_where_calls_share_a_worker(opened: Open) -> None:
    client, worker = await opened(lane="model")
    with pytest.raises(PayloadTooLarge, match="too many values"):
        await run(client, execute_request({"a": [[]] * 3_000_000}))
    assert (await run(client))["data"] == {"a": 1}
    assert worker.received.count("execute") == 1


async def test_out_of_memory_is_told_from_other_ends(opened: Open) -> None:
    client, _ = await opened(run_out_of_memory)
    with pytest.raises(SandboxOutOfMemory):
        await run(client)


async def test_a_handler_over_its_time_breaks_its_worker(opened: Open) -> None:
    client, _ = await opened(hang)
    with pytest.raises(DeadlineExceeded):
        await run(client, timeout_s=0.02)
    assert client.broken


async def test_a_model_call_over_its_time_is_cancelled_and_its_worker_goes_on(opened: Open) -> None:
    async def hang_once(worker: FakeWorker, request: dict) -> dict | None:
        return None if request["requestData"]["input"] == {"hang": True} else response(request, "fine")

    client, worker = await opened(hang_once, lane="model")
    slow = execute_request({"hang": True}, handler_type="LLM")
    with pytest.raises(DeadlineExceeded):
        await run(client, slow, timeout_s=0.02)
    assert (await run(client))["data"] == "fine"
    assert worker.cancelled == [slow["requestId"]]
    assert client.broken is None


async def test_a_model_worker_that_answers_no_ping_is_given_up(opened: Open) -> None:
    client, worker = await opened(hang, lane="model", ping_timeout_s=0.02)
    worker._ping = lambda rpc_id: None
    lost = asyncio.Event()
    client.on_lost = lambda _: lost.set()
    with pytest.raises(DeadlineExceeded):
        await run(client, timeout_s=0.02)
    await asyncio.wait_for(lost.wait(), 30)
    assert client.broken


async def test_log_lines_are_taken_whatever_they_hold(opened: Open) -> None:
    async def chatter(worker: FakeWorker, request: dict) -> dict:
        for params in [
            {"requestId": request["requestId"], "level": "info", "message": "hello"},
            {"requestId": request["requestId"], "level": "__class__", "message": {"no": "text"}},
            {"requestId": ["x"]},
            None,
            "text",
        ]:
            worker.send({"method": "log", "params": params})
        worker.send({"method": "unknown", "params": {}})
        return response(request, "said")

    client, _ = await opened(chatter)
    assert (await run(client))["data"] == "said"


@pytest.mark.parametrize("level", ["info", "warning", "error", "critical", 7])
async def test_what_a_handler_prints_is_logged_for_debugging_only(opened: Open, level: Any) -> None:
    async def prints_its_input(worker: FakeWorker, request: dict) -> dict:
        params = {"requestId": request["requestId"], "level": level, "message": "card 4111" + "x" * 10_000}
        worker.send({"method": "log", "params": params})
        return response(request, 1)

    client, _ = await opened(prints_its_input)
    with capture_logs() as logs:
        await run(client)
    (line,) = [entry for entry in logs if "4111" in str(entry)]
    assert (line["log_level"], len(line["text"])) == ("debug", 2_000)


async def test_a_tools_result_that_is_too_large_is_an_error_of_that_call(opened: Open) -> None:
    async def asks(worker: FakeWorker, request: dict) -> dict:
        return response(request, (await worker.call_tool(request["requestId"], "t", {}))["error"]["data"]["code"])

    async def call_tool(name: str, arguments: dict) -> dict:
        return {"text": "x" * 17_000_000}

    client, _ = await opened(asks)
    assert (await run(client, call_tool=call_tool))["data"] == "OUTPUT_INVALID"
    assert (await run(client, call_tool=call_tool))["data"] == "OUTPUT_INVALID"


async def test_a_worker_that_floods_its_log_is_cut_off(opened: Open) -> None:
    async def flood(worker: FakeWorker, request: dict) -> None:
        params = {"requestId": request["requestId"], "message": "x"}
        line = json.dumps({"jsonrpc": "2.0", "method": "log", "params": params}).encode()
        worker.send_raw((len(line).to_bytes(4, "big") + line) * 20_001)  # Python 3.12+ counts what waits at every write

    client, _ = await opened(flood)
    with pytest.raises(SandboxDied, match="floods"):
        await run(client, timeout_s=10)


async def test_content_is_addressed_by_its_hash(opened: Open) -> None:
    client, worker = await opened()
    await run(client)
    assert list(worker.artifacts) == [SHA256]


@pytest.mark.parametrize(
    "frame",
    [
        {"method": "log", "params": {"requestId": "finished", "message": "x"}},
        {"method": "anything"},
        {"id": "t", "method": "tools/call", "params": {"requestId": "finished", "name": "x", "arguments": {}}},
    ],
    ids=range(3),
)
async def test_a_worker_that_goes_on_talking_after_its_call_is_cut_off(opened: Open, frame: dict) -> None:
    client, worker = await opened()
    lost = asyncio.Event()
    client.on_lost = lambda _: lost.set()
    await run(client)
    worker._answers["t"] = asyncio.get_running_loop().create_future()
    for _ in range(101):
        worker.send(frame)
    await asyncio.wait_for(lost.wait(), 30)
    assert client.broken == "The sandbox speaks without being asked."


async def never(name: str, arguments: dict) -> dict:
    return await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("call_tool", [None, never], ids=["may call none", "all at once"])
@pytest.mark.parametrize("method", ["tools/call", "anything", "tools/call of nothing"])
async def test_a_worker_that_floods_with_requests_that_are_refused_is_cut_off(
    opened: Open, call_tool: Any, method: str
) -> None:
    async def flood(worker: FakeWorker, request: dict) -> None:
        params = {"requestId": request["requestId"], "name": "x", "arguments": {} if method == "tools/call" else None}
        for _ in range(MAX_TOOL_CALLS_AT_ONCE + MAX_UNASKED_FRAMES + 1):
            worker.send({"id": 0, "method": method.partition(" ")[0], "params": params})

    client, worker = await opened(flood)
    with pytest.raises(SandboxDied, match="without being asked"):
        await run(client, call_tool=call_tool)
    assert not worker.is_alive


async def test_an_execution_may_call_tools_so_many_times(opened: Open) -> None:
    async def insist(worker: FakeWorker, request: dict) -> Any:
        for _ in range(MAX_TOOL_CALLS):
            assert "result" in await worker.call_tool(request["requestId"], "t", {})
        return response(request, (await worker.call_tool(request["requestId"], "t", {}))["error"]["data"]["code"])

    async def call_tool(name: str, arguments: dict) -> dict:
        return {}

    client, _ = await opened(insist)
    assert (await run(client, call_tool=call_tool, timeout_s=60))["data"] == "TOO_MANY_REQUESTS"


async def test_a_worker_says_with_its_answer_that_it_is_worn(opened: Open) -> None:
    client, worker = await opened()
    send = worker.send
    worker.send = lambda frame: send({**frame, "worn": False} if "result" in frame else frame)
    await run(client)
    assert not client.worn
    worker.send = lambda frame: send({**frame, "worn": True} if "result" in frame else frame)
    await run(client)
    assert client.worn
    assert client.broken is None
    worker.send = send
    await run(client)
    assert client.worn


async def test_a_ping_tells_a_worker_that_lives_from_one_that_hangs_or_has_ended(opened: Open) -> None:
    client, worker = await opened()
    assert await client.ping(2)
    worker._ping = lambda rpc_id: None
    assert not await client.ping(0.02)
    assert client.broken is None
    worker.end("exited")
    assert not await client.ping(2)
