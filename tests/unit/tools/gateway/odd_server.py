"""OddServer: an MCP server (streamable HTTP, sessions) that misbehaves as it is asked."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


class OddServer:
    """`tools` are listed; `requests` are the headers of every POST by its method; `restart` forgets all sessions."""

    def __init__(self) -> None:
        self.tools = ["echo"]
        self.description = "odd"
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.bodies: list[dict[str, Any]] = []
        self.calls: list[str] = []
        self.opened = 0
        self.refuses_with: int | None = None
        self.hangs_on: set[str] = set()
        self.called = asyncio.Event()
        self.listening = asyncio.Event()
        self._sessions: set[str] = set()
        self._streams: list[web.StreamResponse] = []
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.tls: ssl.SSLContext | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/mcp", self._post)
        app.router.add_get("/mcp", self._get)
        app.router.add_delete("/mcp", self._delete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self.tls)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._runner = None
        self.restart()

    def restart(self) -> None:
        self._sessions.clear()

    async def change_tools(self, *tools: str) -> None:
        self.tools = list(tools)
        note = json.dumps({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        for stream in self._streams:
            await stream.write(f"event: message\ndata: {note}\n\n".encode())

    async def _get(self, request: web.Request) -> web.StreamResponse:
        stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await stream.prepare(request)
        await stream.write(b": hello\n\n")
        self._streams.append(stream)
        self.listening.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._streams.remove(stream)
        return stream

    async def _delete(self, request: web.Request) -> web.Response:
        self._sessions.discard(request.headers.get("mcp-session-id", ""))
        return web.Response(status=200)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        method, number = body.get("method", "answer"), body.get("id")
        self.requests.append((method, dict(request.headers)))
        self.bodies.append(body)
        if self.refuses_with is not None:
            headers = {"location": "http://127.0.0.1:1/elsewhere"} if 300 <= self.refuses_with < 400 else {}
            return web.Response(status=self.refuses_with, text="go away", headers=headers)
        if method in self.hangs_on:
            await asyncio.Event().wait()
        if method == "initialize":
            self.opened += 1
            session = f"session-{self.opened}"
            self._sessions.add(session)
            told = {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "odd", "version": "1"},
            }
            return _answer(number, told, session=session)
        if method == "server/discover":
            return _error(number, -32601, "not known", status=400)
        if request.headers.get("mcp-session-id") not in self._sessions:
            return _error(number, -32600, "no such session", status=404)
        if number is None:
            return web.Response(status=202)
        if method == "tools/list":
            tools = [{"name": name, "description": self.description, "inputSchema": SCHEMA} for name in self.tools]
            return _answer(number, {"tools": tools})
        if method == "tools/call":
            return await self._call(request, number, body["params"])
        return _error(number, -32601, "not known")

    async def _call(self, request: web.Request, number: Any, params: dict[str, Any]) -> web.StreamResponse:
        name, arguments = params["name"], params.get("arguments") or {}
        self.calls.append(name)
        self.called.set()
        match name:
            case "echo":
                return _answer(number, _text(arguments.get("text", "")))
            case "headers":
                return _answer(number, _text(json.dumps(dict(request.headers))))
            case "fail":
                return _answer(number, {**_text("no such customer"), "isError": True})
            case "huge":
                return _answer(number, _text("x" * 3_000_000))
            case "enormous":
                return _answer(number, _text("x" * 9_000_000))
            case "many-blocks":
                return _answer(number, {"content": [{"type": "hologram"}] * 2_000})
            case "many-blocks-streamed":
                stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
                await stream.prepare(request)
                told = {"jsonrpc": "2.0", "id": number, "result": {"content": [{"type": "hologram"}] * 2_000}}
                await stream.write(f"event: message\ndata: {json.dumps(told)}\n\n".encode())
                return stream
            case "enormous-stream":
                stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
                await stream.prepare(request)
                while True:
                    await stream.write(b"data: " + b"x" * 100_000)
            case "bomb":
                packed = gzip.compress(json.dumps({"jsonrpc": "2.0", "id": number, "result": _text("x" * 10)}).encode())
                return web.Response(body=packed, headers={"content-encoding": "gzip", "content-type": JSON})
            case "hang":
                await asyncio.Event().wait()
            case "garbage":
                return web.Response(text="{]", content_type="application/json")
            case "page":
                return web.Response(text="<html>", content_type="text/html")
            case "no-result":
                return _answer(number, {"answer": 42})
            case "odd-content":
                return _answer(number, {"content": [{"type": "hologram", "data": "x"}]})
            case "nan":
                return _answer(number, {"content": [], "structuredContent": {"a": float("nan")}})
            case "deep":
                deep: Any = 1
                for _ in range(100):
                    deep = [deep]
                return _answer(number, {"content": [], "structuredContent": {"a": deep}})
            case "die":
                assert request.transport is not None
                request.transport.abort()
            case "end-stream":
                stream = web.StreamResponse(headers={"content-type": "text/event-stream"})
                await stream.prepare(request)
                return stream
            case "server-error":
                return web.Response(status=503, text="later")
            case "refuse":
                return _error(number, -32602, "text is missing")
        return _error(number, -32602, "unknown tool")


JSON = "application/json"


def _text(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}]}


def _answer(number: Any, result: dict[str, Any], *, session: str | None = None) -> web.Response:
    headers = {} if session is None else {"mcp-session-id": session}
    return web.json_response({"jsonrpc": "2.0", "id": number, "result": result}, headers=headers)


def _error(number: Any, code: int, message: str, *, status: int = 200) -> web.Response:
    return web.json_response(
        {"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": message}}, status=status
    )


@asynccontextmanager
async def odd_server(*tools: str) -> AsyncIterator[OddServer]:
    server = OddServer()
    server.tools = list(tools) or server.tools
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
