"""The runner in a container, over its attached standard input and output, with a real engine."""

import asyncio
import contextlib
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from raw_runner import Closed, RawRunner, spec

from uhlp.errors import EngineRefused, EngineUnavailable, SandboxDied
from uhlp.sandbox.driver import Transport
from uhlp.sandbox.drivers.docker.attached import ATTACHED, AttachedPipe
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.relay_link import RelayLink
from uhlp.sandbox.drivers.zygote_sandbox import ZygoteSandbox

LIMIT_S = 20
MIB = 1024 * 1024
ECHO = "def handle(inputs, context):\n    return inputs\n"


class AttachedSandbox(ZygoteSandbox):
    transport: Transport = "attached stdio"
    container = ""
    pipe: AttachedPipe

    async def until_ready(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.shield(self._ready)

    async def stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self.link.close()

    async def runner(self) -> RawRunner:
        return RawRunner(await self.start_worker())


class Wire:
    """Stands between the client and the engine; it can be cut, or hold back whatever is said from then on."""

    def __init__(self, engine_url: str) -> None:
        self._engine_url = engine_url
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._flows = asyncio.Event()
        self._flows.set()
        self.url = ""

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine_reader, engine_writer = await _connect(self._engine_url)
        self._writers += [writer, engine_writer]
        for source, sink in ((reader, engine_writer), (engine_reader, writer)):
            self._pumps.append(asyncio.create_task(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self._flows.wait()
                sink.write(data)
                await sink.drain()
        sink.close()

    def hold(self) -> None:
        """From here on nothing arrives, and nobody is told."""
        self._flows.clear()

    def cut(self) -> None:
        """All connections break, and there are no new ones."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        self.cut()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    scheme, _, place = url.partition("://")
    if scheme == "unix":
        return await asyncio.open_unix_connection(place)
    host, _, port = place.rpartition(":")
    return await asyncio.open_connection(host, int(port))


@pytest.fixture
async def engine(docker_engine: str) -> AsyncIterator[Engine]:
    engine = Engine(url=docker_engine)
    await engine.connect()
    yield engine
    await engine.close()


@pytest.fixture
async def wire(docker_engine: str) -> AsyncIterator[Wire]:
    wire = Wire(docker_engine)
    await wire.open()
    yield wire
    await wire.close()


Start = Callable[..., Awaitable[AttachedSandbox]]


@pytest.fixture
async def start(engine: Engine, runner_image: str) -> AsyncIterator[Start]:
    """Starts a sandbox, over another client of the engine when one is given."""
    started: list[AttachedSandbox] = []

    async def start(through: Engine = engine, **settings: Any) -> AttachedSandbox:
        walls = {"NetworkMode": "none", "ReadonlyRootfs": True, "CapDrop": ["ALL"], "LogConfig": {"Type": "none"}}
        config = {
            "Image": runner_image,
            "Cmd": [json.dumps({"tmp": "/tmp", "memory_bytes": 512 * MIB, **settings})],
            "User": "65534:65534",
            "HostConfig": {**walls, "Tmpfs": {"/tmp": "mode=0700,uid=65534"}},
            **ATTACHED,
        }
        container = await engine.create(f"uhlp-test-{id(config):x}", config)
        pipe = await AttachedPipe.open(through, container)
        sandbox = AttachedSandbox(sandbox_id="s1", spec=spec(), connect=functools.partial(RelayLink, pipe))
        sandbox.container, sandbox.pipe = container, pipe
        started.append(sandbox)
        await engine.start(container)
        return sandbox

    yield start
    for sandbox in started:
        sandbox.link.close()
        await engine.remove(sandbox.container)


async def until_ended(engine: Engine, sandbox: AttachedSandbox) -> int:
    async with asyncio.timeout(LIMIT_S):
        return await engine.wait(sandbox.container)


async def test_workers_answer_whatever_the_bytes_and_however_many(start: Start) -> None:
    sandbox = await start()
    await sandbox.until_ready()
    assert sandbox.walls["missing"] == []
    first, second = await sandbox.runner(), await sandbox.runner()
    every_control = {"text": "".join(map(chr, range(0x80))), "detach": "\x10\x11"}
    large = {"text": "x" * (4 * MIB)}
    answers = await asyncio.gather(first.run(ECHO, large), second.run(ECHO, every_control))
    assert [answer["data"] for answer in answers] == [large, every_control]
    assert await first.worker.kill() == "killed"
    with pytest.raises(Closed):
        await first.receive()
    assert (await second.run(ECHO, {"n": 1}))["data"] == {"n": 1}


async def test_a_container_that_cannot_start_its_runner_says_why(engine: Engine, start: Start) -> None:
    sandbox = await start(nonsense=1)
    with pytest.raises(SandboxDied):
        await sandbox.until_ready()
    assert "nonsense" in sandbox.pipe.last_words
    assert not sandbox.link.is_open


async def test_a_killed_container_ends_its_sandbox(engine: Engine, start: Start) -> None:
    sandbox = await start()
    await sandbox.until_ready()
    runner = await sandbox.runner()
    await engine.kill(sandbox.container)
    with pytest.raises(Closed):
        await runner.receive()
    assert await asyncio.wait_for(runner.worker.kill(), LIMIT_S) == "exited"
    with pytest.raises(SandboxDied):
        await sandbox.start_worker()


async def test_a_container_ends_when_its_link_lets_go(engine: Engine, start: Start) -> None:
    sandbox = await start()
    await sandbox.until_ready()
    await sandbox.runner()
    sandbox.link.close()
    assert await until_ended(engine, sandbox) == 0


async def test_when_the_network_breaks_the_sandbox_has_ended_here_and_there(
    engine: Engine, start: Start, wire: Wire
) -> None:
    remote = Engine(url=wire.url)
    await remote.connect()
    sandbox = await start(remote)
    await sandbox.until_ready()
    runner = await sandbox.runner()
    assert (await runner.run(ECHO, {"n": 1}))["data"] == {"n": 1}
    wire.cut()
    with pytest.raises(Closed):
        await runner.receive()
    assert await asyncio.wait_for(runner.worker.kill(), LIMIT_S) == "exited"
    assert await until_ended(engine, sandbox) == 0
    await remote.close()


async def test_when_the_network_falls_silent_a_kill_still_ends(start: Start, wire: Wire) -> None:
    remote = Engine(url=wire.url)
    await remote.connect()
    sandbox = await start(remote)
    await sandbox.until_ready()
    runner = await sandbox.runner()
    wire.hold()
    assert await asyncio.wait_for(runner.worker.kill(), LIMIT_S) == "killed"
    with pytest.raises(Closed):
        await runner.receive()
    await remote.close()


async def test_a_container_that_is_not_there_cannot_be_attached_to(engine: Engine, wire: Wire) -> None:
    with pytest.raises(EngineRefused):
        await AttachedPipe.open(engine, "uhlp-test-no-such-container")
    remote = Engine(url=wire.url)
    await remote.connect()
    wire.cut()
    with pytest.raises(EngineUnavailable):
        await AttachedPipe.open(remote, "uhlp-test-no-such-container")
    await remote.close()


async def test_attachments_leave_the_engine_free_for_requests(engine: Engine, runner_image: str) -> None:
    container = await engine.create("uhlp-test-attachments", {"Image": runner_image, **ATTACHED})
    try:
        pipes = [await AttachedPipe.open(engine, container) for _ in range(110)]  # a client's own limit is 100
        await engine.ping()
        for pipe in pipes:
            await pipe.close()
    finally:
        await engine.remove(container)
