"""A handler calls a third-party MCP server: one that UHLP starts in a sandbox, and one at an address."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import Server, wait_until
from tests.free_port import free_port
from tests.node_programs import FOLDER, node, node_program
from tests.walls import need_walls

SCRIPT = "_jit_code/ask/v1/handler.py"
HANDLER = """\
from uhlp_runtime import call_tool


def handle(inputs, context):
    answer = call_tool(inputs["tool"], inputs["arguments"])
    return {"content": answer["content"], "isError": answer["isError"]}
"""
SCHEMA = {
    "type": "object",
    "properties": {"tool": {"type": "string"}, "arguments": {"type": "object"}},
    "required": ["tool", "arguments"],
}


def everything() -> list[str]:
    return node_program("@modelcontextprotocol/server-everything", "mcp-server-everything")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Where a server of the application's own listens."""
    number = free_port()
    process = subprocess.Popen(
        [*everything(), "streamableHttp"],
        env={**os.environ, "PORT": str(number)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert any(b"listening" in line for line in iter(process.stderr.readline, b""))
    yield number
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    need_walls()
    started = {"command": [*everything(), "stdio"], "folders": [str(FOLDER), str(node().parent.parent)]}
    environment = {
        "UHLP_MCP__SERVERS": json.dumps({"everything": started}),
        "UHLP_MCP__ALLOW_HOSTS": json.dumps([f"127.0.0.1:{port}"]),
        "CRM_TOKEN": "hush-hush-42",
        "UHLP_SECRETS__APPLICATIONS": json.dumps({"shop": ["CRM_TOKEN"]}),
        "COLUMNS": "80",
    }
    with Server(tmp_path_factory.mktemp("mcp") / "data", environment=environment) as server:
        component = {
            "componentId": "ask",
            "handlerType": "JIT",
            "taskDetails": {"script": SCRIPT, "function": "handle"},
            "routeMatcher": {"pathPattern": "/ask", "methods": ["POST"]},
            "inputSchema": SCHEMA,
            "tools": ["community.everything.*", "app.crm.echo", "app.gone.echo"],
        }
        servers = {
            "everything": {"ref": "everything"},
            "crm": {
                "url": f"http://127.0.0.1:{port}/mcp",
                "headers": {"Authorization": "Bearer secret:CRM_TOKEN"},
            },
            "gone": {"url": "http://127.0.0.1:1/mcp"},
        }
        body = {
            "definition": {"appId": "shop", "public": True, "mcpServers": servers},
            "files": {"component_registry.yaml": json.dumps({"components": [component]}), SCRIPT: HANDLER},
        }
        server.administer("POST", "/apps", body)
        yield server


def ask(server: Server, tool: str, **arguments: Any) -> tuple[int, dict[str, Any]]:
    answer = server.http.post("/apps/shop/ask", json={"tool": tool, "arguments": arguments})
    return answer.status_code, answer.json()


def test_a_handler_calls_servers_and_is_told_what_fails(server: Server) -> None:
    for tool in ("community.everything.echo", "app.crm.echo"):
        assert ask(server, tool, message="two pears") == (
            200,
            {"content": [{"type": "text", "text": "Echo: two pears"}], "isError": False},
        )
    status, refused = ask(server, "app.crm.get-sum", a=1, b=2)
    assert (status, refused["error"]["code"]) == (404, "TOOL_NOT_FOUND"), "the component was given echo alone"
    status, failed = ask(server, "community.everything.get-sum", a="one")
    assert (status, failed["error"]["code"]) == (502, "TOOL_FAILED")
    status, away = ask(server, "app.gone.echo", message="x")
    assert (status, away["error"]["code"]) == (503, "MCP_SERVER_UNAVAILABLE")
    assert "no public address" in away["error"]["message"]
    assert server.answers("/readyz"), "an application's server that is away is no fault of this one"


def test_servers_are_shown_on_the_command_line_and_counted(server: Server) -> None:
    ask(server, "app.crm.echo", message="x")
    shown = server.command("tools", "shop")
    assert shown.returncode == 0, shown.stderr
    for words in ("crm", "connected", "gone", "unreachable since", "no public address", "get-annotated-message"):
        assert words in shown.stdout, shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    metrics = server.http.get("/metrics", headers=server.admin).text
    assert 'uhlp_mcp_calls_total{appId="shop",outcome="ok",server="crm"}' in metrics
    shows = ('uhlp_mcp_server_up{appId="shop",server="crm"} 1.0', 'uhlp_mcp_server_up{appId="shop",server="gone"} 0.0')
    wait_until(
        lambda: all(line in server.http.get("/metrics", headers=server.admin).text for line in shows), "servers up"
    )
    told = server.stdout.read_text() + server.stderr.read_text() + shown.stdout + metrics
    assert "hush-hush" not in told


def test_an_administrator_lists_and_calls_them_at_mcp(server: Server) -> None:
    def rpc(method: str, params: dict[str, Any]) -> dict[str, Any]:
        answer = server.http.post(
            "/mcp",
            json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
            headers={
                **server.admin,
                "X-App-Id": "shop",
                "Accept": "application/json, text/event-stream",
                "MCP-Protocol-Version": "2025-06-18",
            },
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["result"])

    names = {tool["name"] for tool in rpc("tools/list", {})["tools"]}
    assert {"core.llm.generate", "community.everything.echo", "app.crm.echo"} <= names
    answer = rpc("tools/call", {"name": "community.everything.echo", "arguments": {"message": "through"}})
    assert answer["content"][0]["text"] == "Echo: through"


def test_programs_end_with_the_server(server: Server) -> None:
    assert ask(server, "community.everything.echo", message="x")[0] == 200
    (program,) = programs(server)
    assert server.stop() == 0
    assert not Path(f"/proc/{program}").exists()


def programs(server: Server) -> list[int]:
    """Processes of the stdio program that this server has started: below its worker."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"/node") and b"stdio" in words and is_below(int(folder.name), server.worker_pid):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def is_below(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False
