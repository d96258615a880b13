"""FakeWorker: a worker in this process, for tests: a task that speaks real frames on a socketpair.

A behaviour answers one `execute`: it gets the worker and the request and returns the ExecuteResponse body, or None to
answer nothing. The behaviours below are ordinary, or misbehave in one way each.
"""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from struct import Struct
from typing import Any

from uhlp.sandbox.driver import ExitReason, HttpAddress

_LENGTH = Struct(">I")

Body = dict[str, Any]
Behaviour = Callable[["FakeWorker", Body], Awaitable[Body | None]]


def response(request: Body, data: Any, result_type: str = "generic") -> Body:
    """An ExecuteResponse body."""
    metrics = {"executionTimeMs": 0.1, "mcpCalls": []}
    return {"requestId": request["requestId"], "resultType": result_type, "data": data, "metrics": metrics}


async def echo(worker: "FakeWorker", request: Body) -> Body | None:
    """Answers with the input."""
    return response(request, request["requestData"]["input"])


async def hang(worker: "FakeWorker", request: Body) -> Body | None:
    """Never answers."""
    return None


async def die(worker: "FakeWorker", request: Body) -> Body | None:
    """Ends without a word."""
    worker.end("exited")
    return None


async def run_out_of_memory(worker: "FakeWorker", request: Body) -> Body | None:
    """Is ended by the kernel."""
    worker.end("oom")
    return None


async def wear_out(worker: "FakeWorker", request: Body) -> Body | None:
    """Answers with the input, and that it must serve no other call."""
    worker.is_worn = True
    return await echo(worker, request)


async def send_garbage(worker: "FakeWorker", request: Body) -> Body | None:
    """Answers with a frame that is not JSON."""
    worker.send_raw(_LENGTH.pack(9) + b"not json!")
    return None


async def answer_another_request(worker: "FakeWorker", request: Body) -> Body | None:
    """Answers with the id of a request that is not its own."""
    return response({"requestId": "another"}, "stolen")


class FakeWorker:
    """One worker: the host's end is `endpoint`; the runner's end is read by a task."""

    def __init__(self, worker_id: str, behaviour: Behaviour) -> None:
        self.worker_id = worker_id
        self.endpoint: socket.socket | HttpAddress
        self.endpoint, self._inside = socket.socketpair()
        self.resident_bytes = 1024 * 1024
        self.is_deaf = False
        """It answers no ping."""
        self.is_worn = False
        """Its answers say so."""
        self.artifacts: dict[str, str] = {}
        self.cancelled: list[str] = []
        self.received: list[str] = []
        """Methods in the order they came."""
        self._behaviour = behaviour
        self._exit: ExitReason | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._answers: dict[str, asyncio.Future[Body]] = {}
        self._ids = count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        reader, self._writer = await asyncio.open_connection(sock=self._inside)
        self._spawn(self._serve(reader))

    async def call_tool(self, request_id: str, name: str, arguments: Body) -> Body:
        """What a handler's tool call does; the JSON-RPC answer, `result` or `error`."""
        rpc_id = f"tool-{next(self._ids)}"
        self._answers[rpc_id] = asyncio.get_running_loop().create_future()
        params = {"requestId": request_id, "name": name, "arguments": arguments}
        self.send({"id": rpc_id, "method": "tools/call", "params": params})
        return await self._answers[rpc_id]

    def send(self, message: Body) -> None:
        frame = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.send_raw(_LENGTH.pack(len(frame)) + frame)

    def send_raw(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)

    def end(self, reason: ExitReason) -> None:
        """The process is gone: its stream closes."""
        if self._exit is None:
            self._exit = reason
            for task in self._tasks:
                task.cancel()
            if self._writer is not None:
                self._writer.close()

    @property
    def is_alive(self) -> bool:
        return self._exit is None

    async def kill(self) -> ExitReason:
        self.end("killed")
        if self._tasks:
            await asyncio.wait(self._tasks)
        return self._exit or "killed"

    async def memory_bytes(self) -> int:
        return self.resident_bytes if self.is_alive else 0

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                self._received(json.loads(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            self.end("exited")  # a runner ends itself when its channel closes

    def _received(self, message: Body) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method is None:
            answer = self._answers.pop(message["id"], None)
            if answer is not None:
                answer.set_result(message)
            return
        self.received.append(method)
        if method == "execute":
            self._spawn(self._execute(message["id"], params))
        elif method == "artifact.put":
            self.artifacts[params["sha256"]] = params["content"]
            self.send({"id": message["id"], "result": {}})
        elif method == "ping":
            self._ping(message["id"])
        elif method == "cancel":
            self.cancelled.append(params["requestId"])

    def _ping(self, rpc_id: int) -> None:
        if not self.is_deaf:
            self.send({"id": rpc_id, "result": {}})

    async def _execute(self, rpc_id: int, request: Body) -> None:
        sha256 = request["context"]["task"]["artifact"]["sha256"]
        if sha256 not in self.artifacts:
            error = {"code": -32001, "message": "ARTIFACT_MISSING", "data": {"sha256": sha256}}
            self.send({"id": rpc_id, "error": error})
            return
        answer = await self._behaviour(self, request)
        if answer is not None:
            self.send({"id": rpc_id, "result": answer} | ({"worn": True} if self.is_worn else {}))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
