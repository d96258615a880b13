"""Containers of images that speak HTTP: how they are reached, and what their code reaches."""

import asyncio
import hashlib
import json
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sandbox_calls import execute_request

from tests.node_image import node_image
from uhlp.clock import SystemClock
from uhlp.errors import IsolationRefused, SandboxDied, SandboxOutOfMemory
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.docker.bridge_network import BridgeNetwork
from uhlp.sandbox.drivers.docker.engine import Engine
from uhlp.sandbox.drivers.docker.http_sandbox import HttpSandbox, check_reach
from uhlp.sandbox.open_client import open_client

REACHES = """
const net = require("node:net");
const reaches = (host, port) => new Promise((resolve) => {
  const socket = net.connect({ host, port, timeout: 1000 }, () => { socket.destroy(); resolve(true); });
  for (const event of ["error", "timeout"]) socket.once(event, () => { socket.destroy(); resolve(false); });
});
exports.handle = async ({ hosts, port }) => ({
  reached: await Promise.all(hosts.map((host) => reaches(host, port))),
  interfaces: Object.keys(require("node:os").networkInterfaces()),
  environment: Object.keys(process.env),
});
"""
Json = dict[str, Any]


def spec(**pool: Any) -> SandboxSpec:
    return SandboxSpec("shop", PoolDefinition(pool_name="default", docker_image="node", **pool), "serving")


@pytest.fixture
async def engine(docker_engine: str) -> AsyncIterator[Engine]:
    engine = Engine(url=docker_engine)
    await engine.connect()
    yield engine
    await engine.close()


@pytest.fixture
async def config(docker_engine: str) -> Json:
    image = await asyncio.to_thread(node_image, docker_engine)
    label = {"uhlp.test": secrets.token_hex(8)}
    host = {"NetworkMode": "none", "Memory": 256 << 20, "MemorySwap": 256 << 20, "Init": True}
    return {"Image": image, "Labels": label, "HostConfig": host}


@pytest.fixture
async def sandbox(engine: Engine, config: Json) -> AsyncIterator[HttpSandbox]:
    sandbox = sandbox_of(engine, config)
    yield sandbox
    await sandbox.stop("test")


def sandbox_of(engine: Engine, config: Json, port: int = 8080) -> HttpSandbox:
    name = f"uhlp-test-{secrets.token_hex(4)}"
    return HttpSandbox(
        sandbox_id=name,
        spec=spec(),
        engine=engine,
        config=config,
        port=port,
        clock=SystemClock(),
        remove=engine.remove,
        on_end=lambda ended: None,
    )


async def owned(engine: Engine, config: Json) -> list[str]:
    found = await engine.list_labelled(f"uhlp.test={config['Labels']['uhlp.test']}")
    return sorted(each.name for each in found)


async def run(sandbox: HttpSandbox, worker: Any, code: str, data: Json) -> Any:
    client = await open_client(worker, sandbox, SandboxSettings(), SystemClock())
    client.lane = "handler"
    request = execute_request(data, code=code.encode())
    artifacts = {hashlib.sha256(code.encode()).hexdigest(): code.encode()}
    try:
        return (await client.execute(request, artifacts=artifacts, call_tool=None, timeout_s=10))["data"]
    finally:
        await client._disconnect("done")


async def test_code_without_a_network_reaches_no_address_of_this_machine(sandbox: HttpSandbox) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        own = [socket.gethostbyname(socket.gethostname()), "172.17.0.1", "127.0.0.1", "169.254.169.254"]
        worker = await sandbox.start_worker()
        data = await run(sandbox, worker, REACHES, {"hosts": own, "port": server.getsockname()[1]})
    assert data == {"reached": [False] * 4, "interfaces": ["lo"], "environment": []}


async def test_workers_are_containers_of_their_own_named_after_the_sandbox(
    sandbox: HttpSandbox, engine: Engine, config: Json
) -> None:
    first, second = await asyncio.gather(sandbox.start_worker(), sandbox.start_worker())
    assert await owned(engine, config) == [f"{sandbox.sandbox_id}-1", f"{sandbox.sandbox_id}-2"]
    assert first.endpoint.token != second.endpoint.token
    assert await first.memory_bytes() > 1_000_000
    assert await first.kill() == "killed"
    assert await first.kill() == "killed"
    assert await first.memory_bytes() == 0
    assert await owned(engine, config) == [f"{sandbox.sandbox_id}-2"]
    await sandbox.stop("test")
    assert await owned(engine, config) == []
    assert (await sandbox.usage()).memory_bytes == 0
    with pytest.raises(SandboxDied):
        await sandbox.start_worker()


async def test_how_a_container_ended_is_told(sandbox: HttpSandbox) -> None:
    worker = await sandbox.start_worker()
    with pytest.raises(SandboxDied):
        await run(sandbox, worker, "exports.handle = () => process.kill(process.pid, 'SIGKILL');", {})
    assert await worker.kill() in ("exited", "killed")  # the engine hears of an end later than the client
    eater = "exports.handle = () => { const kept = []; for (;;) kept.push(Buffer.alloc(10 << 20, 1)); };"
    worker = await sandbox.start_worker()
    with pytest.raises(SandboxOutOfMemory):
        await run(sandbox, worker, eater, {})
    assert await worker.kill() == "oom"


async def test_a_container_that_ends_at_once_is_refused_with_its_status_and_removed(
    engine: Engine, config: Json
) -> None:
    sandbox = sandbox_of(engine, {**config, "Cmd": ["node", "-e", "process.exit(3)"]})
    with pytest.raises(SandboxDied, match="exit status 3"):
        await sandbox.start_worker()
    assert await owned(engine, config) == []


async def test_a_container_that_never_answers_is_removed_when_time_is_up(engine: Engine, config: Json) -> None:
    sandbox = sandbox_of(engine, {**config, "Cmd": ["node", "-e", "setInterval(() => 0, 1000)"]})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await sandbox.start_worker()
    assert await owned(engine, config) == []


async def test_with_a_network_the_port_is_published_on_loopback_and_asks_for_the_token(
    engine: Engine, config: Json
) -> None:
    network = BridgeNetwork(engine=engine, instance=secrets.token_hex(4))
    assert await network.ensure() == network.name
    assert await BridgeNetwork(engine=engine, instance=network.name.removeprefix("uhlp-")).ensure() == network.name
    host = {**config["HostConfig"], "NetworkMode": network.name}
    sandbox = sandbox_of(engine, {**config, "HostConfig": host})
    try:
        worker = await sandbox.start_worker()
        facts = await engine.inspect(f"{sandbox.sandbox_id}-1")
        assert facts is not None
        assert [each["HostIp"] for each in facts["NetworkSettings"]["Ports"]["8080/tcp"]] == ["127.0.0.1"]
        assert await run(sandbox, worker, "exports.handle = (inputs) => inputs;", {"a": 1}) == {"a": 1}
        async with aiohttp.ClientSession() as stranger:
            answer = await stranger.post(f"{worker.endpoint.url}/execute", data=json.dumps(execute_request()))
            assert answer.status == 401
    finally:
        await sandbox.stop("test")
        await network.close()
        await network.close()


def test_a_pool_whose_containers_cannot_be_reached_is_refused_in_words() -> None:
    with pytest.raises(IsolationRefused, match="cannot be reached from here"):
        check_reach(spec(), "tcp://10.0.0.1:2375")
