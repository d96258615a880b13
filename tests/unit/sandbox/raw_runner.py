"""A client for one worker, frame by frame: what tests of the runner see is what travels."""

import asyncio
import hashlib
import itertools
import json
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.walls import need_walls
from uhlp.models.definition import PoolDefinition, ResourceLimits
from uhlp.models.execute import ExecuteRequest, ExecuteResponse
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.sandbox.drivers.zygote_sandbox import ZygoteSandbox, ZygoteWorker

Json = dict[str, Any]
ANSWER_LIMIT_S = 10.0


class Closed(Exception):
    """The worker has gone."""


class RawRunner:
    """Sends requests to a worker; tool calls are answered by `tools`, logs and strays are kept."""

    def __init__(self, worker: ZygoteWorker) -> None:
        self.worker = worker
        self.tools: Callable[[Json], Awaitable[Json]] | None = None
        self.logs: list[Json] = []
        self.strays: list[Json] = []
        self.is_worn = False
        """What the last answer said."""
        self._ids = itertools.count(1)

    async def run(self, source: str, inputs: Json | None = None, **changes: Any) -> Json:
        """Execute a JIT handler; the artifact is sent when the worker lacks it."""
        return await self.execute(request(source, inputs, **changes), source)

    async def execute(self, body: Json, *artifacts: str) -> Json:
        """An `execute` answered with a response of the right shape."""
        answer = await self.call("execute", body)
        while answer.get("error", {}).get("code") == -32001:
            missing = answer["error"]["data"]["sha256"]
            await self.put(next(text for text in artifacts if sha256(text) == missing))
            answer = await self.call("execute", body)
        self.is_worn = "worn" in answer
        ExecuteResponse.model_validate(answer["result"])
        assert answer["result"]["requestId"] == body["requestId"]
        return answer["result"]

    async def put(self, text: str) -> None:
        params = {"sha256": sha256(text), "path": "v1/handler.py", "content": text}
        assert (await self.call("artifact.put", params))["result"] == {"ok": True}

    async def call(self, method: str, params: Json) -> Json:
        """The answer to one request; what comes before it is kept or answered."""
        number = next(self._ids)
        await self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        while True:
            message = await self.receive()
            if message.get("id") == number and "method" not in message:
                return message
            await self.take(message)

    async def take(self, message: Json) -> None:
        if message.get("method") == "log":
            self.logs.append(message["params"])
        elif message.get("method") == "tools/call" and self.tools:
            answer = await self.tools(message["params"])
            await self.send({"jsonrpc": "2.0", "id": message["id"], **answer})
        else:
            self.strays.append(message)

    async def send(self, message: Json) -> None:
        body = json.dumps(message).encode()
        await asyncio.get_running_loop().sock_sendall(self.worker.endpoint, struct.pack(">I", len(body)) + body)

    async def receive(self) -> Json:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            (length,) = struct.unpack(">I", await self._exactly(4))
            return json.loads(await self._exactly(length))

    async def _exactly(self, number: int) -> bytes:
        data = bytearray()
        while len(data) < number:
            try:
                chunk = await asyncio.get_running_loop().sock_recv(self.worker.endpoint, number - len(data))
            except ConnectionError:
                chunk = b""
            if not chunk:
                raise Closed
            data += chunk
        return bytes(data)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


_request_ids = itertools.count(1)


def request(source: str, inputs: Json | None = None, *, handler_type: str = "JIT", **changes: Any) -> Json:
    """An execute body, checked against the wire model."""
    tests = changes.pop("tests", None)
    task: Json = {"artifact": {"sha256": sha256(source), "path": "v1/handler.py"}}
    if tests is not None:
        task["tests"] = {"sha256": sha256(tests), "path": "v1/test_handler.py"}
    body = {
        "requestId": f"r{next(_request_ids)}",
        "requestData": {"source": "http", "input": inputs or {}},
        "context": {
            "appId": "shop",
            "componentId": "parse",
            "handlerType": handler_type,
            "revision": "0" * 40,
            "task": task,
            "deadlineMs": 5000,
            **changes,
        },
    }
    ExecuteRequest.model_validate(body)
    return body


def spec(app_id: str = "shop", *, group: str = "serving", memory: str = "128M", **pool: Any) -> SandboxSpec:
    limits = ResourceLimits(memory_limit=memory)
    return SandboxSpec(app_id, PoolDefinition(pool_name="default", resource_limits=limits, **pool), group)  # type: ignore[arg-type]


async def raw_runner(sandbox: ZygoteSandbox) -> RawRunner:
    return RawRunner(await sandbox.start_worker())


def new_data_dir(factory: pytest.TempPathFactory) -> Path:
    """A server's data directory; the assembled runner is shared, because every assembly costs a second."""
    data_dir = factory.mktemp("data")
    (factory.getbasetemp() / "runner").mkdir(exist_ok=True)
    (data_dir / "runner").symlink_to(factory.getbasetemp() / "runner")
    return data_dir


async def isolated_driver(data_dir: Path, **settings: Any) -> ProcessDriver:
    """An open driver with every wall; the test is skipped, or fails where services are required, without bubblewrap."""
    need_walls()
    driver = ProcessDriver(data_dir=data_dir, allow_unisolated=False, production=True, **settings)
    capabilities = await driver.open()
    assert capabilities.isolation == "namespaces", capabilities
    return driver
