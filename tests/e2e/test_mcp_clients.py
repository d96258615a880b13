"""Programs of others that speak MCP: the official conformance suite and MCP Inspector, against a server that runs."""

import base64
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.server import Server
from tests.node_programs import FOLDER, node_program

EXCLUDED: dict[str, str] = yaml.safe_load((FOLDER / "excluded_scenarios.yaml").read_text())
MOST_EXCLUDED = 23
"""Lower it with every scenario that passes from now on."""

OF_THE_PROTOCOL = {"server-initialize", "ping", "tools-list", "dns-rebinding-protection"}
"""The scenarios that ask for no tool of their own."""

_WHEN = re.compile(r"-\d{4}-\d\d-\d\dT[^/]*$")
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}
DIALECT = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {"address": ADDRESS},
    "properties": {"name": {"type": "string"}, "address": {"$ref": "#/$defs/address"}},
    "additionalProperties": False,
}


def media(mime_type: str, content: bytes) -> str:
    """The code of a handler that answers with a picture or a sound."""
    response = {
        "statusCode": 200,
        "headers": {"Content-Type": mime_type},
        "body": base64.b64encode(content).decode(),
        "bodyEncoding": "base64",
    }
    return f"return {response!r}"


HANDLERS = {
    "test_simple_text": 'return "This is a simple text response for testing."',
    "test_error_handling": 'return {"code": "ON_PURPOSE", "message": "This tool intentionally returns an error"}',
    "json_schema_2020_12_tool": "return inputs",
    "test_image_content": media("image/png", b"\x89PNG\r\n\x1a\n"),
    "test_audio_content": media("audio/wav", b"RIFF\x00\x00\x00\x00WAVE"),
}
MORE: dict[str, dict[str, Any]] = {
    "test_error_handling": {"expectedResultFormat": "error"},
    "json_schema_2020_12_tool": {"inputSchema": DIALECT},
    "test_image_content": {"expectedResultFormat": "httpResponse"},
    "test_audio_content": {"expectedResultFormat": "httpResponse"},
}


def tools_application() -> dict[str, Any]:
    """The body of POST /apps: a component for each tool that the suite asks for and components can be."""
    files = {f"handlers/{name}.py": f"def handle(inputs, context):\n    {code}\n" for name, code in HANDLERS.items()}
    components = [
        {
            "componentId": name,
            "description": f"Stands for {name}",
            "handlerType": "JIT",
            "taskDetails": {"script": f"handlers/{name}.py"},
            "routeMatcher": {"pathPattern": f"/{name}", "methods": ["POST"]},
            **MORE.get(name, {}),
        }
        for name in HANDLERS
    ]
    registry = json.dumps({"components": components})
    return {"definition": {"appId": "tools", "public": True}, "files": {"component_registry.yaml": registry, **files}}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("mcp") / "data") as server:
        server.administer("POST", "/apps", tools_application())
        yield server


@contextmanager
def with_headers(server: Server, headers: dict[str, str]) -> Iterator[str]:
    """The URL of a proxy that adds headers, for clients that cannot: the conformance suite brings no token."""

    class Forwarding(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            sent = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
            answer = server.http.post(self.path, content=body, headers={**sent, **headers})
            self.send_response(answer.status_code)
            for name in ("content-type", "allow"):
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def do_GET(self) -> None:
            self.send_error(405)

        def log_message(self, format: str, *args: Any) -> None: ...  # noqa: A002  the base class's word

    with ThreadingHTTPServer(("127.0.0.1", 0), Forwarding) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}"
        finally:
            proxy.shutdown()


def conformance(url: str, results: Path) -> tuple[set[str], set[str]]:
    """Every scenario of the suite, and those that passed: something succeeded, and nothing failed."""
    suite = node_program("@modelcontextprotocol/conformance", "conformance")
    subprocess.run(
        [*suite, "server", "--url", url, "--suite", "all", "-o", str(results)],
        capture_output=True,
        timeout=120,
        check=False,
    )
    known, passed = set(), set()
    for file in results.glob("server-*/checks.json"):
        scenario = _WHEN.sub("", file.parent.name.removeprefix("server-"))
        statuses = {check["status"] for check in json.loads(file.read_text())}
        known.add(scenario)
        if "SUCCESS" in statuses and "FAILURE" not in statuses:
            passed.add(scenario)
    return known, passed


def test_an_application_passes_what_is_not_excluded(serving: Server, tmp_path: Path) -> None:
    known, passed = conformance(f"{serving.url}/apps/tools/-/mcp", tmp_path)
    assert known - passed == set(EXCLUDED)
    assert passed > OF_THE_PROTOCOL


def test_the_list_of_exclusions_does_not_grow() -> None:
    assert len(EXCLUDED) <= MOST_EXCLUDED
    assert all(len(reason) > 20 for reason in EXCLUDED.values())


def test_the_core_tools_pass_what_asks_for_no_tool_of_its_own(serving: Server, tmp_path: Path) -> None:
    with with_headers(serving, {**serving.admin, "X-App-Id": "tools"}) as url:
        _, passed = conformance(f"{url}/mcp", tmp_path)
    assert passed == OF_THE_PROTOCOL


def inspector(server: Server, path: str, *words: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """What MCP Inspector prints."""
    url = server.url + path
    command = [*node_program("@modelcontextprotocol/inspector", "mcp-inspector"), "--cli", url, "--transport", "http"]
    told = [f"{name}: {value}" for name, value in (headers or {}).items()]
    ran = subprocess.run(
        [*command, *(["--header", *told] if told else []), *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "HOME": str(server.folder)},
    )
    printed: dict[str, Any] = json.loads(ran.stdout)
    return printed


def test_inspector_lists_and_calls_the_tools_of_an_application(serving: Server) -> None:
    path = "/apps/tools/-/mcp"
    listed = inspector(serving, path, "--method", "tools/list", "--strict")["tools"]
    assert [tool["name"] for tool in listed] == list(HANDLERS)
    called = inspector(
        serving, path, "--method", "tools/call", "--tool-name", "json_schema_2020_12_tool", "--tool-arg", "name=Ann"
    )
    assert called["structuredContent"] == {"name": "Ann"}
    assert called["_meta"]["uhlp/handler"] == "jit"


def test_inspector_lists_and_calls_the_core_tools(serving: Server) -> None:
    owner = {**serving.admin, "X-App-Id": "tools"}
    listed = inspector(serving, "/mcp", "--method", "tools/list", headers=owner)["tools"]
    assert {"core.state.getRuntimeValue", "core.llm.generate", "core.metrics.record"} <= {one["name"] for one in listed}
    words = ("--method", "tools/call", "--tool-name", "core.state.setRuntimeValue", "--tool-arg", "key=a", "value=1")
    called = inspector(serving, "/mcp", *words, headers=owner)
    assert called["structuredContent"] == {"key": "a"}
    kept = httpx.get(f"{serving.url}/admin/v1/apps/tools/runtime/a", headers=serving.admin).json()
    assert kept["found"] is True
