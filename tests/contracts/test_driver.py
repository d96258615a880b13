"""What every Driver keeps. Each one runs a real sandbox where it has one, and answers the same frames.

What only a driver with real sandboxes can show (limits, crashes) stands at the end.
"""

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contracts.conftest import REAL
from tests.machine_image import http_client
from uhlp.clock import SystemClock
from uhlp.errors import SandboxDied, SandboxOutOfMemory
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.channel import Channel
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.driver import Driver, Sandbox, SandboxSpec, Worker
from uhlp.sandbox.drivers.docker.driver import DockerDriver
from uhlp.sandbox.drivers.marked_processes import marked_processes
from uhlp.sandbox.drivers.process import ProcessDriver
from uhlp.sandbox.manager import SandboxManager

CODE = b"def handle(inputs, context):\n    return inputs\n"
POOL = PoolDefinition(pool_name="default", max_instances=2)


def spec(app_id: str = "shop", group: Any = "serving") -> SandboxSpec:
    return SandboxSpec(app_id=app_id, pool=POOL, group=group)


class Ear:
    """Listens to one worker."""

    def __init__(self) -> None:
        self.lost = asyncio.Event()

    def request_received(self, rpc_id: int | str, method: str, params: object) -> None: ...

    def notification_received(self, method: str, params: object) -> None: ...

    def channel_lost(self, problem: str) -> None:
        self.lost.set()


async def listen(worker: Worker) -> tuple[Channel, Ear]:
    ear = Ear()
    return await Channel.open(worker.endpoint, ear), ear


async def answers_ping(channel: Channel) -> bool:
    return (await asyncio.wait_for(channel.call("ping", {}), 20)).error is None


async def test_capabilities_name_the_driver_and_say_what_is_missing(driver: Driver) -> None:
    capabilities = await driver.open()
    assert capabilities.driver
    assert capabilities.isolation != "none" or capabilities.missing
    await driver.close()


async def test_a_started_sandbox_is_owned_until_it_is_stopped(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    other = await opened.start(spec(group="trial"))
    assert sandbox.sandbox_id != other.sandbox_id
    assert sandbox.spec == spec()
    assert sorted(await opened.list_owned()) == sorted([sandbox.sandbox_id, other.sandbox_id])
    await sandbox.stop("test")
    await sandbox.stop("again")
    assert await opened.list_owned() == [other.sandbox_id]


async def test_workers_have_streams_of_their_own_and_are_ready(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    workers = await asyncio.gather(*(sandbox.start_worker() for _ in range(3)))
    assert len({worker.worker_id for worker in workers}) == 3
    channels = [(await listen(worker))[0] for worker in workers]
    assert all(await asyncio.gather(*(answers_ping(channel) for channel in channels)))
    assert all([await worker.memory_bytes() > 0 for worker in workers])


async def test_killing_a_worker_ends_its_stream_and_leaves_its_neighbour(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    doomed, neighbour = await sandbox.start_worker(), await sandbox.start_worker()
    (_, ear), (channel, _) = await listen(doomed), await listen(neighbour)
    assert await doomed.kill() == "killed"
    assert await doomed.kill() == "killed"
    await asyncio.wait_for(ear.lost.wait(), 20)
    assert await doomed.memory_bytes() == 0
    assert await answers_ping(channel)


async def test_a_worker_ends_by_itself_when_its_channel_closes(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    worker = await sandbox.start_worker()
    channel, _ = await listen(worker)
    assert await answers_ping(channel)
    channel.close()
    assert await asyncio.wait_for(worker.kill(), 20) in ("exited", "killed")


async def test_stopping_a_sandbox_ends_its_workers_and_starts_no_more(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    _, ear = await listen(await sandbox.start_worker())
    await sandbox.stop("test")
    await asyncio.wait_for(ear.lost.wait(), 20)
    with pytest.raises(SandboxDied):
        await sandbox.start_worker()


async def test_closing_leaves_nothing(driver: Driver) -> None:
    await driver.open()
    sandbox = await driver.start(spec())
    _, ear = await listen(await sandbox.start_worker())
    await driver.close()
    await asyncio.wait_for(ear.lost.wait(), 20)
    assert await driver.list_owned() == []


async def test_starts_that_are_given_up_at_any_moment_leave_nothing(driver: Driver) -> None:
    await driver.open()
    for moment in range(12):
        starting = asyncio.ensure_future(driver.start(spec()))
        for _ in range(1 + moment):
            await asyncio.sleep(0)  # it has begun
        starting.cancel()
        await asyncio.wait([starting], timeout=20)
    await driver.close()
    assert await driver.list_owned() == []


@pytest.fixture
async def manager(driver: Driver) -> AsyncIterator[SandboxManager]:
    manager = SandboxManager(driver=driver, config=SandboxSettings(), clock=SystemClock(), meter=NullMeter())
    await manager.open()
    yield manager
    await manager.close()


async def run(manager: SandboxManager, code: bytes, number: int = 0, inputs: Any = None) -> Any:
    """The answer's data; an error's code in place of an error."""
    sha256 = hashlib.sha256(code).hexdigest()
    request = {
        "requestId": f"r{number}",
        "requestData": {"source": "http", "input": inputs or {}},
        "context": {
            "appId": "shop",
            "componentId": "parse",
            "handlerType": "JIT",
            "revision": "0" * 40,
            "task": {"artifact": {"sha256": sha256, "path": "handler.py"}, "function": "handle"},
            "configuration": {},
            "applicationInfo": {"deploymentMode": "development"},
            "deadlineMs": 10_000,
        },
    }
    answer = await manager.execute(
        "shop",
        POOL,
        request,
        artifacts={sha256: code},
        call_tool=None,
        timeout_s=10,
        group="serving",
        fresh=number == 3,
    )
    return answer["data"]["code"] if answer["resultType"] == "error" else answer["data"]


async def test_calls_run_through_the_manager(driver: Driver, manager: SandboxManager) -> None:
    answers = await asyncio.gather(*(run(manager, CODE, number, {"pid": os.getpid()}) for number in range(6)))
    assert answers == [{"pid": os.getpid()}] * 6
    await manager.close()
    assert await driver.list_owned() == []


async def test_a_sandbox_says_what_it_takes_until_it_ends(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    await sandbox.start_worker()
    usage = await sandbox.usage()
    assert usage.memory_bytes > 0
    assert usage.cpu_s >= 0
    await sandbox.stop("test")
    assert (await sandbox.usage()).memory_bytes == 0


async def test_the_image_of_a_pool_that_names_none_holds_our_runner(opened: Driver) -> None:
    assert await opened.has_runner(POOL.docker_image)


# -- what only real sandboxes show

real = pytest.mark.parametrize("driver", REAL, indirect=True)


@real
async def test_code_that_wants_more_memory_than_its_pool_has_fails_alone(manager: SandboxManager) -> None:
    try:
        answer = await run(manager, b"def handle(i, c):\n    return len(bytearray(400 << 20))\n")
    except SandboxOutOfMemory as error:
        answer = error.code
    assert answer == SandboxOutOfMemory.code
    assert await run(manager, CODE, inputs={"n": 1}) == {"n": 1}


@real
async def test_threads_are_counted_and_neighbours_still_start(opened: Driver, manager: SandboxManager) -> None:
    bomb = (
        b"import threading\n"
        b"def handle(i, c):\n"
        b"    end, number = threading.Event(), 0\n"
        b"    try:\n"
        b"        for number in range(10_000):\n"
        b"            threading.Thread(target=end.wait, daemon=True).start()\n"
        b"    except RuntimeError:\n"
        b"        pass\n"
        b"    end.set()\n"
        b"    return number\n"
    )
    assert 0 < await run(manager, bomb) < 200
    assert await run(manager, CODE, inputs={"n": 1}) == {"n": 1}


@real
async def test_a_worker_that_crashes_is_an_error_and_the_next_call_is_answered(manager: SandboxManager) -> None:
    with pytest.raises(SandboxDied):
        await run(manager, b"import os\ndef handle(i, c):\n    os._exit(3)\n")
    assert await run(manager, CODE, inputs={"n": 1}) == {"n": 1}


@real
async def test_a_sandbox_that_is_killed_ends_its_workers_and_another_can_be_started(opened: Driver) -> None:
    sandbox = await opened.start(spec())
    worker = await sandbox.start_worker()
    _, ear = await listen(worker)
    kill_from_outside(opened, sandbox)
    await asyncio.wait_for(ear.lost.wait(), 20)
    assert await asyncio.wait_for(worker.kill(), 20) in ("exited", "killed")
    with pytest.raises(SandboxDied):
        await sandbox.start_worker()
    assert (await sandbox.usage()).memory_bytes == 0
    another = await opened.start(spec())
    channel, _ = await listen(await another.start_worker())
    assert await answers_ping(channel)
    await sandbox.stop("it has ended")


def kill_from_outside(driver: Driver, sandbox: Sandbox) -> None:
    """As the kernel or an operator would."""
    if isinstance(driver, DockerDriver):
        with http_client(driver.status()["engine"]["url"]) as http:
            assert http.post(f"/containers/{sandbox.sandbox_id}/kill").is_success
    else:
        assert isinstance(driver, ProcessDriver)
        zygote, *_ = [pid for pid, sandbox_id in marked_processes(driver.instance) if sandbox_id == sandbox.sandbox_id]
        os.kill(zygote, signal.SIGKILL)
