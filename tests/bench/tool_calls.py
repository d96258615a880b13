"""What a tool call takes, seen from inside a sandbox: `python -m tests.bench.tool_calls [calls]`.

A core tool, and the echo of a third-party MCP server at an address and as a program in a sandbox. Beside them, the
official SDK's client in a process of its own that calls the same server at its address.
"""

import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import quantiles
from time import perf_counter
from typing import Any

import httpx
from mcp import Client

from tests.bench.load import LOAD_CORE
from tests.bench.processes import ADMIN_TOKEN, free_port, server, uhlp_serve
from tests.node_programs import FOLDER, node, node_program

CORE, HTTP, STDIO = "core tool", "MCP server, HTTP", "MCP server, stdio"
CLIENT = "SDK's client, HTTP"
_WARM_UP = 20
_ROUNDS = 5
_SCRIPT = "_jit_code/ask/v1/handler.py"
_HANDLER = """\
from time import perf_counter

from uhlp_runtime import call_tool


def handle(inputs, context):
    took = []
    for _ in range(inputs["calls"]):
        started = perf_counter()
        call_tool(inputs["tool"], inputs["arguments"])
        took.append((perf_counter() - started) * 1000)
    return took
"""
_ECHO = {"message": "two pears and a lamp"}
_CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    CORE: ("core.framework.getConfigValue", {"key": "currency"}),
    HTTP: ("app.everything.echo", _ECHO),
    STDIO: ("community.program.echo", _ECHO),
}


def run(*, calls: int = 500) -> dict[str, tuple[float, float]]:
    """Measure and print p50 and p99 in milliseconds, by name."""
    everything = node_program("@modelcontextprotocol/server-everything", "mcp-server-everything")
    program = {"command": [*everything, "stdio"], "folders": [str(FOLDER), str(node().parent.parent)]}
    port = free_port()
    with ExitStack() as stack:
        command = [*everything, "streamableHttp"]
        stack.enter_context(server(command, port, core=LOAD_CORE, environment={"PORT": str(port)}))
        address = f"http://127.0.0.1:{port}/mcp"
        environment = {
            "UHLP_MCP__SERVERS": json.dumps({"program": program}),
            "UHLP_MCP__ALLOW_HOSTS": json.dumps([f"127.0.0.1:{port}"]),
        }
        url = stack.enter_context(uhlp_serve(environment)).url
        _register(url, address)
        took: dict[str, list[float]] = {name: [] for name in (CLIENT, *_CALLS)}
        for _ in range(_ROUNDS):  # in turn, so that a noisy moment hits all of them alike
            took[CLIENT] += asyncio.run(_by_the_client(address, calls // _ROUNDS))
            for name, (tool, arguments) in _CALLS.items():
                took[name] += _ask(url, tool, arguments, _WARM_UP + calls // _ROUNDS)[_WARM_UP:]
        figures = {name: _of(one) for name, one in took.items()}
    print(f"{'a tool call, ms':24}{'p50':>8}{'p99':>8}")
    for name, (p50, p99) in figures.items():
        print(f"{name:24}{p50:8.2f}{p99:8.2f}")
    return figures


def _register(url: str, address: str) -> None:
    component = {
        "componentId": "ask",
        "handlerType": "JIT",
        "taskDetails": {"script": _SCRIPT, "function": "handle"},
        "routeMatcher": {"pathPattern": "/ask", "methods": ["POST"]},
        "tools": [tool for tool, _ in _CALLS.values()],
        "timeoutMs": 120_000,
    }
    servers = {"everything": {"url": address}, "program": {"ref": "program"}}
    files = {"component_registry.yaml": json.dumps({"components": [component]}), _SCRIPT: _HANDLER}
    definition = {"appId": "bench", "public": True, "mcpServers": servers, "configuration": {"currency": "EUR"}}
    answer = httpx.post(
        f"{url}/admin/v1/apps",
        json={"definition": definition, "files": files},
        headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
        timeout=60,
    )
    answer.raise_for_status()


def _ask(url: str, tool: str, arguments: dict[str, Any], calls: int) -> list[float]:
    asked = {"tool": tool, "arguments": arguments, "calls": calls}
    answer = httpx.post(f"{url}/apps/bench/ask", json=asked, timeout=120)
    if not answer.is_success:
        raise RuntimeError(answer.text)
    took: list[float] = answer.json()
    return took


async def _by_the_client(address: str, calls: int) -> list[float]:
    took = []
    async with Client(address) as client:
        for _ in range(_WARM_UP + calls):
            started = perf_counter()
            await client.call_tool("echo", _ECHO)
            took.append((perf_counter() - started) * 1000)
    return took[_WARM_UP:]


def _of(took: Sequence[float]) -> tuple[float, float]:
    cuts = quantiles(took, n=100)
    return cuts[49], cuts[98]


if __name__ == "__main__":
    run(calls=int(sys.argv[1]) if len(sys.argv) > 1 else 500)
