"""What every client of a worker keeps, frames and HTTP alike: first against real sandboxes, each in its own language,
then against one that says whatever it is told to."""

import asyncio
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.node_image import NodeProcess, node_image
from tests.scripted_http_worker import ScriptedHttpWorker, ScriptedSandbox
from uhlp.clock import SystemClock
from uhlp.errors import (
    DeadlineExceeded,
    ExecutionFailed,
    OutputInvalid,
    PayloadTooLarge,
    SandboxDied,
    SandboxOutOfMemory,
)
from uhlp.models.definition import PoolDefinition
from uhlp.models.execute import ExecuteRequest, ExecuteResponse
from uhlp.sandbox.client import WorkerClient
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Sandbox, SandboxSpec, Worker
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.http_sandbox import HttpSandbox
from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import response, send_garbage
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.sandbox.open_client import open_client

SPEC = SandboxSpec(app_id="shop", pool=PoolDefinition(pool_name="default"), group="serving")
CONTAINER = {
    "HostConfig": {
        "NetworkMode": "none",
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Memory": 256 << 20,
        "PidsLimit": 64,
        "Tmpfs": {"/tmp": "size=64m,noexec,nosuid,nodev"},
        "Init": True,
    },
    "User": "65534:65534",
}
Json = dict[str, Any]

PYTHON = {
    "echoes": "def handle(inputs, context):\n    return inputs\n",
    "fails": "def handle(inputs, context):\n    raise ValueError('no good')\n",
    "declines": "from uhlp_runtime import Deoptimize\ndef handle(inputs, context):\n    raise Deoptimize('not mine')\n",
    "hangs": "def handle(inputs, context):\n    while True: pass\n",
    "dies": "import os\ndef handle(inputs, context):\n    os._exit(3)\n",
    "nan": "def handle(inputs, context):\n    return [float('nan')]\n",
    "large": "def handle(inputs, context):\n    return 'x' * (11 << 20)\n",
    "deep": "def handle(inputs, context):\n    v = 1\n    for _ in range(100): v = [v]\n    return v\n",
}
JAVASCRIPT = {
    "echoes": "exports.handle = (inputs) => inputs;",
    "fails": "exports.handle = () => { throw new Error('no good'); };",
    "declines": "exports.handle = () => { throw Object.assign(new Error('not mine'), { name: 'Deoptimize' }); };",
    "hangs": "exports.handle = () => { for (;;); };",
    "dies": "exports.handle = () => process.kill(process.pid, 'SIGKILL');",
    "nan": "exports.handle = () => [NaN];",
    "large": "exports.handle = () => 'x'.repeat(11 << 20);",
    "deep": "exports.handle = () => { let v = 1; for (let i = 0; i < 100; i++) v = [v]; return v; };",
}

_numbers = count(1)


@dataclass
class Peer:
    """A client, and the handlers that its worker understands."""

    client: WorkerClient
    handlers: dict[str, str]

    async def run(self, handler: str, data: Json | None = None, *, timeout_s: float = 10, given: bool = True) -> Json:
        code = self.handlers[handler].encode()
        sha256 = hashlib.sha256(code).hexdigest()
        body = await self.client.execute(
            execute_request(sha256, data or {}),
            artifacts={sha256: code} if given else {},
            call_tool=None,
            timeout_s=timeout_s,
        )
        ExecuteResponse.model_validate(body)
        return body


def execute_request(sha256: str, data: Json) -> Json:
    request = {
        "requestId": f"{secrets.token_hex(16)}.{next(_numbers)}",
        "requestData": {"source": "http", "input": data},
        "context": {
            "appId": "shop",
            "componentId": "parse",
            "handlerType": "JIT",
            "revision": "0" * 40,
            "task": {"artifact": {"sha256": sha256, "path": "handlers/x"}, "function": "handle"},
            "configuration": {},
            "applicationInfo": {"deploymentMode": "development"},
            "deadlineMs": 10_000,
        },
    }
    ExecuteRequest.model_validate(request)
    return request


async def connect(worker: Worker, sandbox: Sandbox, *, lane: Any = "handler", **settings: Any) -> WorkerClient:
    client = await open_client(worker, sandbox, SandboxSettings(**settings), SystemClock())
    client.lane = lane
    return client


@pytest.fixture(scope="module")
def data_dir() -> Iterator[Path]:
    """Short, because a socket's path may not be long; open, because sandboxes run under other users."""
    folder = Path(tempfile.mkdtemp(prefix="uhlp-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["frames", "http", "http in a container"])
async def peer(request: pytest.FixtureRequest, data_dir: Path) -> AsyncIterator[Peer]:
    if request.param == "frames":
        driver = ProcessDriver(data_dir=data_dir, allow_unisolated=True, production=False)
        await driver.open()
        sandbox = await driver.start(SPEC)
        yield Peer(await connect(await sandbox.start_worker(), sandbox), PYTHON)
        await driver.close()
    elif request.param == "http":
        worker = await NodeProcess.start()
        client = await connect(worker, ScriptedSandbox(SPEC))
        yield Peer(client, JAVASCRIPT)
        await client.end("test")
    else:
        url = request.getfixturevalue("docker_engine")
        engine = Engine(url=url)
        await engine.connect()
        image = await asyncio.to_thread(node_image, url)
        config = {**CONTAINER, "Image": image}
        name = f"uhlp-test-{secrets.token_hex(4)}"
        sandbox = HttpSandbox(
            sandbox_id=name,
            spec=SPEC,
            engine=engine,
            config=config,
            port=8080,
            clock=SystemClock(),
            remove=engine.remove,
            on_end=lambda ended: None,
        )
        client = await connect(await sandbox.start_worker(), sandbox)
        yield Peer(client, JAVASCRIPT)
        await client.end("test")
        await sandbox.stop("test")
        await engine.close()


async def test_an_answer_carries_its_request_id_and_data(peer: Peer) -> None:
    body = await peer.run("echoes", {"a": [1, 2.5, "drei", None, True]})
    assert (body["resultType"], body["data"]) == ("generic", {"a": [1, 2.5, "drei", None, True]})


async def test_code_is_sent_when_the_worker_lacks_it_and_then_no_more(peer: Peer) -> None:
    with pytest.raises(ExecutionFailed, match="handlers/x was not given"):
        await peer.run("echoes", given=False)
    assert (await peer.run("echoes", {"n": 1}))["data"] == {"n": 1}
    assert (await peer.run("echoes", {"n": 2}, given=False))["data"] == {"n": 2}


async def test_what_handlers_do_wrong_is_answered_and_the_worker_serves_on(peer: Peer) -> None:
    failed = await peer.run("fails")
    assert (failed["resultType"], failed["data"]["code"]) == ("error", "HANDLER_FAILED")
    assert "no good" in failed["data"]["message"]
    assert failed["data"]["details"]["traceback"]
    declined = await peer.run("declines")
    assert (declined["resultType"], declined["data"]) == ("deoptimize", {"reason": "not mine"})
    for handler in ("nan", "large"):
        body = await peer.run(handler)
        assert (body["resultType"], body["data"]["code"]) == ("error", "OUTPUT_INVALID")
    with pytest.raises(OutputInvalid, match="deeper"):
        await peer.run("deep")
    assert (await peer.run("echoes", {"still": "there"}))["data"] == {"still": "there"}
    assert peer.client.broken is None


async def test_a_request_that_is_too_large_is_not_sent(peer: Peer) -> None:
    with pytest.raises(PayloadTooLarge):
        await peer.run("echoes", {"text": "x" * (10 << 20)})
    assert (await peer.run("echoes", {"n": 1}))["data"] == {"n": 1}


async def test_calls_at_the_same_time_get_their_own_answers(peer: Peer) -> None:
    bodies = await asyncio.gather(*(peer.run("echoes", {"n": number}) for number in range(5)))
    assert [body["data"]["n"] for body in bodies] == list(range(5))


async def test_a_deadline_is_kept_by_killing(peer: Peer) -> None:
    await peer.run("echoes")
    with pytest.raises(DeadlineExceeded):
        await peer.run("hangs", timeout_s=0.3)
    assert peer.client.broken
    assert await peer.client.end(peer.client.broken) == "killed"
    assert await peer.client.worker.memory_bytes() == 0
    assert not await peer.client.ping(1)


async def test_a_cancelled_call_breaks_a_worker_that_has_no_other(peer: Peer) -> None:
    await peer.run("echoes")
    call = asyncio.ensure_future(peer.run("hangs"))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert peer.client.broken


async def test_a_worker_that_dies_in_a_call_fails_it_and_is_ended(peer: Peer) -> None:
    with pytest.raises(SandboxDied):
        await peer.run("dies")
    assert peer.client.broken
    assert await peer.client.end("again") in ("exited", "killed")
    with pytest.raises(SandboxDied):
        await peer.run("echoes")


async def test_a_ping_tells_whether_it_lives(peer: Peer) -> None:
    assert await peer.client.ping(5)
    await peer.client.worker.kill()
    assert not await peer.client.ping(5)


async def test_a_drained_worker_can_be_ended(peer: Peer) -> None:
    await peer.run("echoes")
    peer.client.drain()
    assert await peer.client.end("drained") in ("exited", "killed")
    assert not peer.client.outlived_kill


# Workers that do as they are told: the same behaviours on both transports.

Speak = Callable[..., Awaitable[WorkerClient]]
CODE = b"anything"
SHA256 = hashlib.sha256(CODE).hexdigest()


@pytest.fixture(params=["frames", "http"])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Speak]:
    clients: list[WorkerClient] = []

    async def speak(behaviour: Any, *, lane: Any = "handler", **settings: Any) -> WorkerClient:
        if request.param == "frames":
            driver = FakeDriver(behaviour)
            sandbox = await driver.start(SPEC)
            worker = await sandbox.start_worker()
        else:
            worker, sandbox = await ScriptedHttpWorker(behaviour).start(), ScriptedSandbox(SPEC)
        clients.append(await connect(worker, sandbox, lane=lane, **settings))
        return clients[-1]

    yield speak
    for client in clients:
        await client.end("test")


async def ask(client: WorkerClient, data: Json | None = None, timeout_s: float = 5) -> Json:
    request = execute_request(SHA256, data or {})
    return await client.execute(request, artifacts={SHA256: CODE}, call_tool=None, timeout_s=timeout_s)


def answers(**changes: Any) -> Any:
    async def behaviour(worker: Any, request: Json) -> Json:
        made = {**response(request, 1), **changes}
        return {name: value for name, value in made.items() if value is not ...}

    return behaviour


def ends(reason: Any) -> Any:
    async def behaviour(worker: Any, request: Json) -> None:
        worker.end(reason)

    return behaviour


async def says_garbage(worker: Any, request: Json) -> Any:
    if isinstance(worker, ScriptedHttpWorker):
        return b"not http at all\r\n\r\n"
    return await send_garbage(worker, request)


async def says_nan(worker: Any, request: Json) -> Json:
    return response(request, float("nan"))


async def hangs_when_told(worker: Any, request: Json) -> Json | None:
    return None if "hang" in request["requestData"]["input"] else response(request, "fine")


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(requestId="another"),
        answers(requestId=None),
        answers(resultType="shell"),
        answers(resultType=["generic"]),
        answers(data=...),
        answers(metrics=[]),
        answers(metrics={"executionTimeMs": -1}),
        answers(metrics={"mcpCalls": [1]}),
        says_garbage,
        says_nan,
        ends("exited"),
    ],
    ids=range(11),
)
async def test_nonsense_and_silence_end_the_worker(scripted: Speak, behaviour: Any) -> None:
    client = await scripted(behaviour)
    with pytest.raises(SandboxDied):
        await ask(client)
    assert client.broken
    assert await client.worker.memory_bytes() == 0


async def test_an_answer_without_metrics_will_do(scripted: Speak) -> None:
    assert (await ask(await scripted(answers(metrics=...))))["data"] == 1


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize("data", ["x" * (10 << 20), nested(65)], ids=["large", "deep"])
async def test_an_answer_that_is_too_large_or_too_deep_is_invalid_output(scripted: Speak, data: Any) -> None:
    client = await scripted(answers(data=data))
    with pytest.raises(OutputInvalid):
        await ask(client)
    assert client.broken is None
    assert await client.ping(5)


async def test_out_of_memory_is_told_from_other_ends(scripted: Speak) -> None:
    with pytest.raises(SandboxOutOfMemory):
        await ask(await scripted(ends("oom")))


async def test_a_worker_that_states_it_is_out_of_memory_takes_no_further_call(scripted: Speak) -> None:
    client = await scripted(answers(resultType="error", data={"code": "SANDBOX_OUT_OF_MEMORY", "message": ""}))
    assert (await ask(client))["resultType"] == "error"
    assert client.worn
    assert client.broken is None


async def test_a_call_given_up_on_a_shared_worker_is_dropped_alone(scripted: Speak) -> None:
    client = await scripted(hangs_when_told, lane="model")
    with pytest.raises(DeadlineExceeded):
        await ask(client, {"hang": True}, timeout_s=0.05)
    assert (await ask(client))["data"] == "fine"
    assert client.broken is None


async def test_a_shared_worker_that_gives_no_sign_of_life_is_given_up(scripted: Speak) -> None:
    client = await scripted(hangs_when_told, lane="model", ping_timeout_s=0.05)
    client.worker.is_healthy = False
    client.worker._ping = lambda rpc_id: None
    lost = asyncio.Event()
    client.on_lost = lambda _: lost.set()
    with pytest.raises(DeadlineExceeded):
        await ask(client, {"hang": True}, timeout_s=0.05)
    await asyncio.wait_for(lost.wait(), 30)
    assert client.broken


async def test_two_calls_of_one_request_id_are_refused(scripted: Speak) -> None:
    client = await scripted(hangs_when_told, lane="model")
    request = execute_request(SHA256, {"hang": True})

    async def call() -> Json:
        return await client.execute(request, artifacts={SHA256: CODE}, call_tool=None, timeout_s=0.2)

    first = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    with pytest.raises(ExecutionFailed, match="request id"):
        await call()
    with pytest.raises(DeadlineExceeded):
        await first
