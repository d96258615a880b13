"""/mcp: executions by their tokens and administrators, over the official SDK."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from uhlp.access.administrator import Role
from uhlp.access.sandbox_tokens import SandboxIdentity
from uhlp.llm import LlmSettings, ModelGateway
from uhlp.metering import NullMeter
from uhlp.models.definition import AppDefinition, LlmConfig
from uhlp.tools import CoreMCPServer, ToolContext, ToolNamespaces, ToolSession
from uhlp.tools.core.definition_state import DefinitionState
from uhlp.tools.core.runtime_state import RuntimeState
from uhlp.tools.tool import Tool, arguments
from uhlp.web.config import WebSettings
from uhlp.web.edge import open_edge
from uhlp.web.services import Services
from web.fakes import ADMIN_TOKEN, listening
from web.stores import stored_services

GET_VALUE, SET_VALUE = "core.state.getRuntimeValue", "core.state.setRuntimeValue"
SLOW, BROKEN = "core.test.slow", "core.test.broken"
ACCEPT = {"Accept": "application/json, text/event-stream"}
INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "a test", "version": "1"},
}


class Desk:
    """The edge over real stores and the application `desk`, whose component `triage` executes."""

    def __init__(self, services: Services, client: httpx.AsyncClient, slow: "SlowTool") -> None:
        self.services = services
        self.client = client
        self.slow = slow

    def context(self, **changed: Any) -> ToolContext:
        given: dict[str, Any] = {
            "app_id": "desk",
            "component_id": "triage",
            "request_id": "r1",
            "trace_id": "0" * 31 + "1",
            "deadline": self.services.clock.monotonic() + 30,
            "allowed_tools": (GET_VALUE, SET_VALUE, SLOW, BROKEN),
            "llm": LlmConfig(),
            "configuration": {},
            "purpose": "serve",
        }
        return ToolContext(**{**given, **changed})

    @contextmanager
    def execution(self, request_id: str = "r1.1", **changed: Any) -> Iterator[tuple[ToolSession, dict[str, str]]]:
        """An execution that runs: its session, and the headers with its token."""
        session = ToolSession(self.services.tools, self.context(**changed))
        identity = SandboxIdentity("desk", "triage", "uhlp-1", "node", "JIT", request_id)
        token = self.services.sandbox_tokens.make(identity, lasts_s=30)
        with self.services.tool_sessions.running(request_id, session):
            yield session, {"Authorization": f"Bearer {token}"}

    async def post(self, message: Any, headers: dict[str, str], **more: str) -> httpx.Response:
        content = message if isinstance(message, bytes) else json.dumps(message).encode()
        told = {"Content-Type": "application/json", **ACCEPT, **headers, **more}
        return await self.client.post("/mcp", content=content, headers=told)

    async def ask(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        answer = await self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}, headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        told: dict[str, Any] = answer.json()
        assert told["id"] == 7
        return told

    async def call(self, name: str, given: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        told = await self.ask("tools/call", {"name": name, "arguments": given}, headers)
        result: dict[str, Any] = told["result"]
        return result


class SlowTool:
    """Answers when it is told to; one that is cancelled says so."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.cancelled = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def run(self, given: dict[str, Any], context: ToolContext) -> dict[str, Any]:
        self.begun.set()
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return {}


async def broken(given: dict[str, Any], context: ToolContext) -> dict[str, Any]:
    raise RuntimeError("a fault of our own")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    slow = SlowTool()
    limits = WebSettings(max_body_bytes=64 * 1024, body_timeout_s=0.3, mcp_hosts=("tools.example", ".uhlp.example"),
                         mcp_origins=("https://pages.example",))  # fmt: skip
    async with stored_services(tmp_path, settings=limits) as stored:
        core = CoreMCPServer(
            gateway=ModelGateway(settings=LlmSettings(), clock=stored.clock, meter=NullMeter()),
            metrics=stored.metrics,
            clock=stored.clock,
            meter=stored.metrics,
            tools=(
                *DefinitionState(state=stored.state, files=stored.registry.data_files).tools(),
                *RuntimeState(state=stored.state).tools(),
                Tool(SLOW, "slow", arguments([]), arguments([]), slow.run),
                Tool(BROKEN, "broken", arguments([]), arguments([]), broken),
            ),
        )
        for app_id in ("desk", "other"):
            await stored.registry.register_application(AppDefinition(app_id=app_id, configuration={"of": app_id}))
        tools = ToolNamespaces(core=core, clock=stored.clock)
        services = replace(stored, tools=tools, core_tools=core.tool_names, reading_tools=core.reading_tools)
        async with open_edge(services) as edge:
            transport = httpx.ASGITransport(app=edge)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080") as client:
                yield Desk(services, client, slow)


def admin(app_id: str = "desk", token: str = ADMIN_TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-App-Id": app_id}


async def test_an_execution_sees_the_tools_of_its_component_and_calls_them(desk: Desk) -> None:
    with desk.execution(allowed_tools=(GET_VALUE, SET_VALUE)) as (session, headers):
        listed = (await desk.ask("tools/list", {}, headers))["result"]["tools"]
        assert sorted(tool["name"] for tool in listed) == ["core.metrics.record", GET_VALUE, SET_VALUE]
        assert all(tool["inputSchema"]["type"] == tool["outputSchema"]["type"] == "object" for tool in listed)
        await desk.call(SET_VALUE, {"key": "a", "value": [1]}, headers)
        got = await desk.call(GET_VALUE, {"key": "a"}, headers)
    assert got["structuredContent"] == {"found": True, "value": [1]}
    assert json.loads(got["content"][0]["text"]) == got["structuredContent"]
    assert got["isError"] is False
    assert [(call.tool, call.outcome) for call in session.calls] == [(SET_VALUE, "ok"), (GET_VALUE, "ok")]
    assert (await desk.services.state.get_runtime_value("desk", "a")).value == [1]


async def test_a_handshake_is_answered_without_a_session(desk: Desk) -> None:
    with desk.execution() as (_, headers):
        told = await desk.ask("initialize", INITIALIZE, headers)
        assert told["result"]["serverInfo"]["name"] == "uhlp"
        assert "tools" in told["result"]["capabilities"]
        started = await desk.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
        assert (started.status_code, started.content) == (202, b"")
        assert "mcp-session-id" not in started.headers


@pytest.mark.parametrize("request_id", [None, 1.5, True, ["a"], {"a": 1}])
@pytest.mark.parametrize("method", ["tools/list", "initialize", "notifications/initialized"])
async def test_an_id_that_no_answer_could_name_is_an_invalid_request(desk: Desk, request_id: Any, method: str) -> None:
    with desk.execution() as (_, headers):
        told = await desk.post({"jsonrpc": "2.0", "id": request_id, "method": method, "params": {}}, headers)
        assert told.status_code == 400
        assert (told.json()["id"], told.json()["error"]["code"]) == (None, -32600)


async def test_the_newest_protocol_is_spoken_too(desk: Desk) -> None:
    newest = "2026-07-28"
    meta = {
        "io.modelcontextprotocol/protocolVersion": newest,
        "io.modelcontextprotocol/clientInfo": {"name": "a test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": GET_VALUE, "arguments": {"key": "a"}, "_meta": meta},
    }  # fmt: skip
    with desk.execution() as (_, headers):
        more = {"MCP-Protocol-Version": newest, "Mcp-Method": "tools/call", "Mcp-Name": GET_VALUE}
        answer = await desk.post(message, headers, **more)
    assert answer.json()["result"]["structuredContent"] == {"found": False, "value": None}


async def test_a_tool_that_the_component_may_not_use_is_unknown(desk: Desk) -> None:
    with desk.execution(allowed_tools=(GET_VALUE,)) as (_, headers):
        for name in (SET_VALUE, "core.state.nothing", "x" * 10_000):
            told = await desk.ask("tools/call", {"name": name, "arguments": {}}, headers)
            assert told["error"]["code"] == -32602
            assert len(told["error"]["message"]) < 300
    assert (await desk.services.state.get_runtime_value("desk", "a")).found is False


async def test_what_a_tool_refuses_is_told_with_its_envelope(desk: Desk) -> None:
    with desk.execution() as (_, headers):
        told = await desk.call(GET_VALUE, {"key": ""}, headers)
    assert told["isError"] is True
    error = told["structuredContent"]["error"]
    assert (error["code"], error["traceId"]) == ("VALIDATION_FAILED", "0" * 31 + "1")
    assert error["details"]["problems"][0]["path"] == "/key"
    assert told["content"][0]["text"] == error["message"]


async def test_a_fault_of_our_own_is_told_without_its_text(desk: Desk) -> None:
    with desk.execution() as (_, headers), structlog.testing.capture_logs():
        told = await desk.call(BROKEN, {}, headers)
    assert told["structuredContent"]["error"]["code"] == "INTERNAL_ERROR"
    assert "fault of our own" not in str(told)


async def test_a_token_is_good_for_as_long_as_its_execution_runs(desk: Desk) -> None:
    with desk.execution() as (_, headers):
        pass
    refused = await desk.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    with desk.execution("r1.2"):
        refused = await desk.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers)
        assert refused.status_code == 401


async def test_a_call_ends_with_its_execution(desk: Desk) -> None:
    async with asyncio.timeout(30):
        with desk.execution() as (_, headers):
            calling = asyncio.create_task(desk.call(SLOW, {}, headers))
            await desk.slow.begun.wait()
        told = await calling
        await desk.slow.cancelled.wait()
    assert told["structuredContent"]["error"]["code"] == "DEADLINE_EXCEEDED"


async def test_a_call_has_the_time_of_its_request(desk: Desk) -> None:
    with desk.execution(deadline=desk.services.clock.monotonic() - 1) as (_, headers):
        told = await desk.call(SLOW, {}, headers)
    assert told["structuredContent"]["error"]["code"] == "DEADLINE_EXCEEDED"


async def test_an_administrator_has_every_tool_of_the_application_they_name(desk: Desk) -> None:
    listed = (await desk.ask("tools/list", {}, admin()))["result"]["tools"]
    assert sorted(tool["name"] for tool in listed) == sorted(desk.services.core_tools)
    await desk.call(SET_VALUE, {"key": "a", "value": 1}, admin())
    assert (await desk.call(GET_VALUE, {"key": "a"}, admin("other")))["structuredContent"]["found"] is False
    config = await desk.call("core.framework.getConfigValue", {"key": "of"}, admin("other"))
    assert config["structuredContent"] == {"found": True, "value": "other"}
    written = {"filePath": "files/a", "content": "x", "commitMessage": "m"}
    with structlog.testing.capture_logs() as logs:
        await desk.call("core.state.setDefinitionFileContent", written, admin())
    newest = (await desk.services.state.history("desk", limit=1))[0]
    assert (newest.author, newest.trailers) == ("admin <uhlp@localhost>", {})
    changes = [line for line in logs if line["event"] == "admin_change"]
    assert [(line["actor"], line["tool"]) for line in changes] == [("admin", "core.state.setDefinitionFileContent")]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer nobody's"}, 401),
        ({"Authorization": "Bearer uhlp_call_AAAA.BBBB"}, 401),
        ({"Authorization": f"Bearer {ADMIN_TOKEN}"}, 400),
        (admin("nothing"), 404),
    ],
)
async def test_others_are_refused(desk: Desk, headers: dict[str, str], status: int) -> None:
    refused = await desk.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, headers)
    assert refused.status_code == status
    assert refused.json()["error"]["code"]
    assert refused.headers["x-trace-id"]
    assert "cache-control" in refused.headers


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_only_owners_have_tools(desk: Desk, role: Role) -> None:
    token, _ = await desk.services.tokens.create(f"a-{role}", role, actor="admin", reason="a test")
    refused = await desk.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, admin(token=token))
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Host": "localhost:9"}, 200),
        ({"Host": "10.0.0.7"}, 200),
        ({"Host": "[::1]:8080"}, 200),
        ({"Host": "tools.example:8443"}, 200),
        ({"Host": "desk.uhlp.example"}, 200),
        ({"Host": "uhlp.example"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil-tools.example"}, 403),
        ({"Host": "10.0.0.7.evil.example"}, 403),
        ({"Host": "localhost.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://127.0.0.1:8080"}, 200),
        ({"Origin": "https://pages.example"}, 200),
        ({"Origin": "http://127.0.0.1:9"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://pages.example.evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
    ],
)
async def test_pages_of_others_and_names_of_others_are_refused(desk: Desk, more: dict[str, str], status: int) -> None:
    answer = await desk.post({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, admin(), **more)
    assert answer.status_code == status


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT", "OPTIONS"])
async def test_there_is_nothing_but_post(desk: Desk, method: str) -> None:
    refused = await desk.client.request(method, "/mcp", headers=admin())
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1,", b'{"a": NaN}', b'{"id": 1, "id": 2}', b"\xff", b"[" * 100_000, b"[" * 70 + b"]" * 70]
)
async def test_what_is_no_json_is_a_parse_error(desk: Desk, body: bytes) -> None:
    refused = await desk.post(body, admin())
    expected = 413 if len(body) > 64 * 1024 else 400
    assert refused.status_code == expected
    if expected == 400:
        assert refused.json()["error"]["code"] == -32700


@pytest.mark.parametrize("message", [1, "a", [], [{"jsonrpc": "2.0", "id": 1, "method": "ping"}], {"id": 1}, None])
async def test_what_is_no_message_is_refused(desk: Desk, message: Any) -> None:
    refused = await desk.post(message, admin())
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] in (-32600, -32602)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"Accept": "text/html"}, 406),
        ({"Content-Type": "text/plain"}, 400),
        ({"MCP-Protocol-Version": "1999-01-01"}, 400),
        ({"MCP-Protocol-Version": "2025-06-18"}, 200),
        ({"Accept": "application/json"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_a_request_says_what_it_is_and_what_it_takes(desk: Desk, more: dict[str, str], status: int) -> None:
    answer = await desk.post({"jsonrpc": "2.0", "id": "a", "method": "ping"}, admin(), **more)
    assert answer.status_code == status
    if status == 200:
        assert answer.json() == {"jsonrpc": "2.0", "id": "a", "result": {}}


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("tools/call", {}, -32602),
        ("tools/call", {"name": 1}, -32602),
        ("tools/call", {"name": GET_VALUE, "arguments": [1]}, -32602),
        ("prompts/list", {}, -32601),
        ("nothing/at/all", {}, -32601),
    ],
)
async def test_a_request_that_cannot_be_answered_is_an_error_of_the_protocol(
    desk: Desk, method: str, params: dict[str, Any], code: int
) -> None:
    assert (await desk.ask(method, params, admin()))["error"]["code"] == code


async def test_a_client_that_leaves_ends_its_call(desk: Desk) -> None:
    async with open_edge(desk.services) as edge, listening(edge) as port, asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": SLOW, "arguments": {}}}
        )
        with desk.execution() as (_, headers):
            lines = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body))}
            head = "".join(f"{name}: {value}\r\n" for name, value in {**lines, **ACCEPT, **headers}.items())
            writer.write(f"POST /mcp HTTP/1.1\r\n{head}\r\n{body}".encode())
            await desk.slow.begun.wait()
            writer.close()
            await desk.slow.cancelled.wait()
        reader.feed_eof()


async def test_no_token_is_logged(desk: Desk) -> None:
    with structlog.testing.capture_logs() as logs, desk.execution() as (_, headers):
        token = headers["Authorization"].removeprefix("Bearer ")
        await desk.ask("tools/call", {"name": token, "arguments": {}}, headers)
        await desk.call(GET_VALUE, {"key": token}, headers)
    assert token not in str(logs)


async def test_a_token_leads_to_its_own_execution_whatever_else_a_request_says_and_opens_nothing_else(
    desk: Desk,
) -> None:
    with desk.execution(allowed_tools=(GET_VALUE, SET_VALUE)) as (_, headers):
        bold = {**headers, "X-App-Id": "other", "X-Request-ID": "r2.1", "X-Component-Id": "another"}
        await desk.call(SET_VALUE, {"key": "a", "value": 1, "appId": "other"}, bold)
        await desk.call(SET_VALUE, {"key": "a", "value": 1}, bold)
        elsewhere = await desk.call(GET_VALUE, {"key": "a"}, admin("other"))
        assert elsewhere["structuredContent"]["found"] is False
        own = await desk.call(GET_VALUE, {"key": "a"}, admin("desk"))
        assert own["structuredContent"] == {"found": True, "value": 1}

        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        token = headers["Authorization"].removeprefix("Bearer ")
        for name in ("Authorization", "X-API-Key"):
            carried = {name: f"Bearer {token}" if name == "Authorization" else token}
            for method, path in (
                ("GET", "/admin/v1/apps"),
                ("POST", "/admin/v1/tokens"),
                ("GET", "/admin/v1/apps/desk/runtime/a"),
                ("POST", "/apps/desk/-/mcp"),
                ("POST", "/apps/other/-/mcp"),
                ("POST", "/apps/other/-/triggers/x"),
            ):
                refused = await desk.client.request(method, path, json=message, headers={**ACCEPT, **carried})
                assert refused.status_code in (401, 403, 404), (path, refused.text)
                assert token not in refused.text
        logged_in = await desk.client.post("/panel/login", data={"token": token})
        assert (logged_in.status_code, "set-cookie" in logged_in.headers) == (401, False)
        refused = await desk.client.post("/record", json=record_of("other"), headers=headers)
        assert refused.status_code in (403, 422)
    replayed = await desk.post(message, headers)
    assert replayed.status_code == 401


def record_of(app_id: str) -> dict[str, Any]:
    return {"metric_name": "app.custom.clicks", "metric_type": "counter", "value": 1, "labels": {"appId": app_id}}
