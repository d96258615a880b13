"""A sandbox that speaks HTTP and misbehaves to order: a server on raw streams, so that it can say anything."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from uhlp.sandbox.driver import ExitReason, HttpAddress, SandboxSpec

TOKEN = "the-workers-token"
Json = dict[str, Any]


@dataclass
class Received:
    """One request, as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        return json.loads(self.body)


@dataclass
class ScriptedSandbox:
    """What a client asks of a sandbox."""

    spec: SandboxSpec
    sandbox_id: str = "scripted"


@dataclass
class ScriptedHttpWorker:
    """Answers `/execute` with what `behaviour(worker, request)` returns: an ExecuteResponse, raw bytes of a whole HTTP
    answer, or None for never. Files are taken; a task's file that is not there is asked for when `asks_for_files`."""

    behaviour: Callable[["ScriptedHttpWorker", Json], Awaitable[Json | bytes | None]]
    asks_for_files: bool = True
    closes_after_raw: bool = False
    is_healthy: bool = True
    worker_id: str = "w1"
    received: list[Received] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    connections: int = 0
    endpoint: HttpAddress = field(init=False)
    _exit: ExitReason | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _server: asyncio.Server | None = None

    async def start(self) -> "ScriptedHttpWorker":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.endpoint = HttpAddress(f"http://127.0.0.1:{port}", TOKEN)
        return self

    @property
    def is_alive(self) -> bool:
        return self._exit is None

    def end(self, reason: ExitReason) -> None:
        """The container is gone."""
        if self._exit is None:
            self._exit = reason
            if self._server is not None:
                self._server.close()
            for writer in self._writers:
                writer.transport.abort()

    async def kill(self) -> ExitReason:
        self.end("killed")
        return self._exit or "killed"

    async def memory_bytes(self) -> int:
        return 1024 * 1024 if self.is_alive else 0

    def of(self, method: str, path: str = "") -> list[Received]:
        """What came by this method, to paths that begin so."""
        return [each for each in self.received if each.method == method and each.path.startswith(path)]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                request = await _read(reader)
                self.received.append(request)
                answer = await self._answer(request)
                if answer is None:
                    await reader.read()  # until the caller gives up
                    return
                writer.write(answer)
                await writer.drain()
                if self.closes_after_raw and request.path == "/execute" and self.artifacts:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Received) -> bytes | None:
        if request.path == "/healthz":
            return answer(200, b"{}") if self.is_healthy else None
        if request.method == "PUT":
            self.artifacts[request.path.rpartition("/")[2]] = request.body
            return answer(204)
        task = request.json["context"]["task"]
        for reference in (task["artifact"], task.get("tests")):
            if self.asks_for_files and reference and reference["sha256"] not in self.artifacts:
                return fault(409, code="ARTIFACT_MISSING", message="is needed", sha256=reference["sha256"])
        said = await self.behaviour(self, request.json)
        return answer(200, json.dumps(said).encode()) if isinstance(said, dict) else said


def answer(status: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole HTTP answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def fault(status: int, /, **body: Any) -> bytes:
    """An ExecuteFault."""
    return answer(status, json.dumps(body).encode())


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, path, headers, body)
