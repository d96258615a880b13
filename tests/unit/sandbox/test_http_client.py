"""What an image that speaks HTTP is told, and what becomes of each thing that it may answer."""

import gzip
import hashlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson
import pytest
from sandbox_calls import ARTIFACTS, CODE, SHA256, execute_request

from tests.scripted_http_worker import TOKEN, ScriptedHttpWorker, ScriptedSandbox, answer, fault
from uhlp.clock import SystemClock
from uhlp.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    NoSandboxAvailable,
    OutputInvalid,
    SandboxDied,
    Unavailable,
)
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.client import McpAccess, NothingRan, WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.fake_worker import echo, hang
from uhlp.sandbox.http_session import MAX_INTERIM_ANSWERS, RECEIVED_BYTES, new_session
from uhlp.sandbox.open_client import open_client
from uhlp.sandbox.value_count import MAX_VALUES
from uhlp.tracing import TraceContext

Open = Callable[..., Awaitable[tuple[WorkerClient, ScriptedHttpWorker]]]
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    clients: list[WorkerClient] = []

    async def open_one(behaviour: Any = echo, *, pool: dict | None = None, **script: Any) -> Any:
        spec = SandboxSpec("shop", PoolDefinition(pool_name="default", **(pool or {})), "serving")
        worker = await ScriptedHttpWorker(behaviour, **script).start()
        client = await open_client(worker, ScriptedSandbox(spec), SandboxSettings(), SystemClock())
        client.lane = "handler"
        clients.append(client)
        return client, worker

    yield open_one
    for client in clients:
        await client.end("test")


def says(raw: bytes) -> Any:
    async def behaviour(worker: ScriptedHttpWorker, request: dict) -> bytes:
        return raw

    return behaviour


async def run(client: WorkerClient, request: dict | None = None, **more: Any) -> dict:
    request = request or execute_request({"a": 1})
    return await client.execute(request, **{"artifacts": ARTIFACTS, "call_tool": None, "timeout_s": 5, **more})


async def test_a_call_brings_token_request_id_and_trace(opened: Open) -> None:
    client, worker = await opened()
    trace = TraceContext(TRACE_ID, "b7ad6b7169203331", is_sampled=False, state="vendor=1")
    await run(client, execute_request(request_id=f"{TRACE_ID}.7"), trace=trace)
    headers = worker.of("POST")[0].headers
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert headers["x-request-id"] == f"{TRACE_ID}.7"
    version, trace_id, parent_id, flags = headers["traceparent"].split("-")
    assert (version, trace_id, len(parent_id), flags) == ("00", TRACE_ID, 16, "00")
    assert parent_id != trace.span_id
    assert headers["tracestate"] == "vendor=1"
    assert headers["accept-encoding"] == "identity"
    assert "cookie" not in headers


async def test_a_request_of_no_trace_has_no_traceparent_and_its_id_is_fit_for_a_header(opened: Open) -> None:
    client, worker = await opened()
    assert (await run(client, execute_request(request_id="tests\r\nX-Evil: 1")))["data"] == {}
    headers = worker.of("POST")[0].headers
    assert "traceparent" not in headers
    assert "x-evil" not in headers
    assert headers["x-request-id"] == "tests__X-Evil:_1"


async def test_tools_are_named_only_to_an_execution_that_has_them(opened: Open) -> None:
    client, worker = await opened()
    request = execute_request()
    await run(client, request)
    await run(client, execute_request(), mcp=McpAccess("http://127.0.0.1:1/mcp", "short-lived"))
    without, with_tools = (each.json["context"] for each in worker.of("POST")[-2:])
    assert "mcpEndpoint" not in without
    assert "mcpToken" not in without
    assert (with_tools["mcpEndpoint"], with_tools["mcpToken"]) == ("http://127.0.0.1:1/mcp", "short-lived")


async def test_every_file_of_a_task_is_sent_as_it_is_when_it_is_asked_for(opened: Open) -> None:
    client, worker = await opened()
    tests = b"\xff\x00 not text"
    request = execute_request()
    request["context"]["task"]["tests"] = {"sha256": hashlib.sha256(tests).hexdigest(), "path": "test_handler.py"}
    await run(client, request, artifacts={**ARTIFACTS, hashlib.sha256(tests).hexdigest(): tests})
    assert worker.artifacts == {SHA256: CODE, hashlib.sha256(tests).hexdigest(): tests}
    assert [(each.method, each.path.split("/")[1]) for each in worker.received] == [
        ("POST", "execute"),
        ("PUT", "artifacts"),
        ("POST", "execute"),
        ("PUT", "artifacts"),
        ("POST", "execute"),
    ]


@pytest.mark.parametrize(
    "asked",
    [SHA256, "0" * 64, None, ["x"]],
    ids=["again and again", "what is no file of the task", "nothing", "nonsense"],
)
async def test_files_are_not_sent_forever(opened: Open, asked: Any) -> None:
    client, worker = await opened(says(fault(409, code="ARTIFACT_MISSING", message="?", sha256=asked)))
    with pytest.raises(ExecutionFailed, match="ARTIFACT_MISSING") as caught:
        await run(client)
    assert not isinstance(caught.value, SandboxDied)
    assert len(worker.of("POST")) <= 3
    assert client.broken is None


@pytest.mark.parametrize(
    ("said", "kind", "retry_after_s"),
    [
        (fault(400, code="BAD_REQUEST", message="only JIT"), ExecutionFailed, None),
        (answer(429, Retry_After="3"), NoSandboxAvailable, 3.0),
        (answer(429), NoSandboxAvailable, 1.0),
        (answer(429, Retry_After="1e9"), NoSandboxAvailable, 60.0),
        (answer(429, Retry_After="nan"), NoSandboxAvailable, 1.0),
        (answer(429, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"), NoSandboxAvailable, 1.0),
        (fault(503, code="UNAVAILABLE", message="no database"), Unavailable, 1.0),
    ],
    ids=range(7),
)
async def test_refusals_are_told_apart_and_the_worker_serves_on(
    opened: Open, said: bytes, kind: Any, retry_after_s: float | None
) -> None:
    client, _ = await opened(says(said))
    with pytest.raises(kind) as caught:
        await run(client)
    assert type(caught.value) is kind
    assert caught.value.retry_after_s == retry_after_s
    assert client.broken is None


async def test_a_handler_that_failed_is_an_error_result_with_a_bounded_traceback(opened: Open) -> None:
    client, _ = await opened(says(fault(500, code="X", message="no good", traceback="t" * 10_000)))
    request = execute_request()
    body = await run(client, request)
    assert (body["requestId"], body["resultType"]) == (request["requestId"], "error")
    assert (body["data"]["code"], body["data"]["message"]) == ("HANDLER_FAILED", "no good")
    assert len(body["data"]["details"]["traceback"]) == 8_000


@pytest.mark.parametrize("page", [b"<html>oops", b"", b"[]", b'{"message": 7}', b"x" * 100_000], ids=range(5))
async def test_a_servers_own_error_page_is_a_failed_handler_too(opened: Open, page: bytes) -> None:
    client, _ = await opened(says(answer(500, page)))
    assert (await run(client))["data"] == {"code": "HANDLER_FAILED", "message": "The handler raised an exception."}


@pytest.mark.parametrize(
    "said",
    [
        answer(302, Location="http://127.0.0.1:1/steal"),
        answer(204),
        answer(401),
        answer(404),
        answer(502),
        answer(200, b""),
        answer(200, b"[]"),
        answer(200, b'{"requestId": "a", "requestId": "b"}'),
        answer(200, b"[" * 5_000),
        answer(200, gzip.compress(b"0" * 1_000_000), Content_Encoding="gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=range(13),
)
async def test_anything_else_ends_the_worker(opened: Open, said: bytes) -> None:
    client, worker = await opened(says(said), closes_after_raw=True)
    with pytest.raises(SandboxDied):
        await run(client)
    assert client.broken
    assert len(worker.of("POST", "/execute")) == 2  # with and without the file; no redirect was followed


async def test_an_endless_answer_is_read_to_the_limit_only(opened: Open) -> None:
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    client, _ = await opened(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 32))
    with pytest.raises(OutputInvalid):
        await run(client)
    assert client.broken is None


async def test_an_answer_of_too_many_values_is_not_read(opened: Open) -> None:
    client, _ = await opened(says(answer(200, b"[" + b"[]," * MAX_VALUES + b"[]]")))
    with pytest.raises(OutputInvalid, match="100000 values"):
        await run(client)
    assert client.broken is None


async def test_an_answer_in_very_small_pieces_is_read_with_little_of_it_waiting(opened: Open) -> None:
    body = orjson.dumps({"requestId": "tiny", "resultType": "generic", "data": "x" * 60_000})
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 500
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    client, _ = await opened(says(interim + head + pieces + b"0\r\n\r\n"))
    assert (await run(client, execute_request(request_id="tiny")))["data"] == "x" * 60_000
    session = new_session(client.worker.endpoint)
    assert session.connector is not None
    with session.connector._socket_factory((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * RECEIVED_BYTES
    await session.close()


async def test_interim_answers_without_end_break_the_connection(opened: Open) -> None:
    client, worker = await opened(says(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2 * MAX_INTERIM_ANSWERS))
    with pytest.raises(SandboxDied, match="EndlessInterimAnswers"):
        await run(client)
    assert not worker.is_alive


async def test_interim_answers_are_counted_for_each_answer_anew(opened: Open) -> None:
    client, worker = await opened(asks_for_files=False)
    body = {"requestId": "r1", "resultType": "generic", "data": 1}
    early = b"HTTP/1.1 103 Early Hints\r\n\r\n" * MAX_INTERIM_ANSWERS
    worker.behaviour = says(early + answer(200, orjson.dumps(body)))
    for _ in range(2):
        assert (await run(client, execute_request(request_id="r1")))["data"] == 1
    assert worker.connections == 1


async def test_cookies_are_not_kept(opened: Open) -> None:
    client, worker = await opened(says(answer(429, Set_Cookie="a=b; Path=/")))
    for _ in range(2):
        with pytest.raises(NoSandboxAvailable):
            await run(client)
    assert all("cookie" not in each.headers for each in worker.received)


async def test_calls_one_after_another_share_a_connection(opened: Open) -> None:
    client, worker = await opened()
    for _ in range(3):
        await run(client)
    assert worker.connections == 1


async def test_a_worker_that_takes_no_connection_ran_nothing(opened: Open) -> None:
    client, worker = await opened()
    worker.end("exited")
    with pytest.raises(NothingRan):
        await run(client)
    assert client.broken


async def test_where_a_pool_lets_calls_share_a_container_one_that_is_given_up_ends_alone(opened: Open) -> None:
    client, _ = await opened(hang, pool={"concurrency": 4})
    with pytest.raises(DeadlineExceeded):
        await run(client, timeout_s=0.05)
    assert client.broken is None
    assert await client.ping(5)
