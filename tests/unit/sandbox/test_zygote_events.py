"""A supervisor that is not ours, or not ours any more, is believed in nothing that its protocol does not say."""

import asyncio
import contextlib
import functools
import json
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
from raw_runner import spec

from uhlp.errors import SandboxDied
from uhlp.sandbox.driver import Transport
from uhlp.sandbox.drivers.zygote_events import read_event, read_hello
from uhlp.sandbox.drivers.zygote_link import ZygoteLink
from uhlp.sandbox.drivers.zygote_sandbox import ZygoteSandbox

LIMIT_S = 10
WALLS = {"uid": 7, "system_calls": True, "private_tmp": True, "own_files": True, "missing": []}
READY = {"event": "ready", "pid": 1, "walls": WALLS}


class Supervised(ZygoteSandbox):
    """A sandbox whose zygote is the test; `stop` does what every driver's does first."""

    transport: Transport = "socketpair"

    def __init__(self, control: socket.socket) -> None:
        super().__init__(sandbox_id="s1", spec=spec(), connect=functools.partial(ZygoteLink, control))
        self.has_closed = asyncio.Event()

    async def stop(self, reason: str) -> None:
        self._stop_reason = reason
        self.link.close()

    async def until_ready(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await asyncio.shield(self._ready)

    def _closed(self) -> None:
        super()._closed()
        self.has_closed.set()


class Zygote:
    """The other end of its control socket."""

    def __init__(self) -> None:
        control, self.end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.setblocking(False)
        self.sandbox = Supervised(control)

    def say(self, event: Any) -> None:
        self.end.send(event if isinstance(event, bytes) else json.dumps(event).encode())

    async def fork(self) -> tuple[str, socket.socket]:
        """The next command, which is a fork: the worker's name and its stream."""
        loop = asyncio.get_running_loop()
        readable = loop.create_future()
        loop.add_reader(self.end, readable.set_result, None)
        await readable
        loop.remove_reader(self.end)
        packet, descriptors, _, _ = socket.recv_fds(self.end, 65536, 1)
        stream = socket.socket(fileno=descriptors[0])
        hello = json.dumps({"method": "hello", "params": {"runner": "1", "python": "3"}}).encode()
        stream.sendall(struct.pack(">I", len(hello)) + hello)
        return json.loads(packet)["worker"], stream

    async def until_let_go(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.sandbox.has_closed.wait()
        assert not self.sandbox.link.is_open


@pytest.fixture
async def zygote() -> AsyncIterator[Zygote]:
    zygote = Zygote()
    yield zygote
    await zygote.sandbox.stop("the test is over")
    zygote.end.close()


def test_the_events_of_our_zygote_are_read() -> None:
    for event in (
        {"event": "ready", "walls": WALLS},
        {"event": "forked", "worker": "w1"},
        {"event": "refused", "worker": "w1", "message": "Resource temporarily unavailable"},
        {"event": "exited", "worker": "w1", "reason": "oom"},
        {"event": "memory", "worker": "w1", "bytes": 5},
        {"event": "usage", "bytes": 5, "cpu_s": 0.25},
    ):
        assert read_event(json.dumps({**event, "pid": 7, "status": 9}).encode()) == event


NO_EVENTS: tuple[Any, ...] = (
    b"x", b"", b"[" * 60_000, b"[]", b"1", b'{"event":1}', b'{"event":"usage","bytes":1,"cpu_s":NaN}',
    b'{"event":"usage","bytes":1,"cpu_s":1e999}', b" " * 70_000,
    {}, {"event": "no"}, {"event": "ready"}, {"event": "ready", "walls": 7}, {"event": "ready", "walls": {"x": 1}},
    {"event": "ready", "walls": {**WALLS, "missing": "none"}}, {"event": "ready", "walls": {**WALLS, "missing": [1]}},
    {"event": "ready", "walls": {**WALLS, "missing": ["x"] * 101}}, {"event": "ready", "walls": {**WALLS, "uid": "7"}},
    {"event": "ready", "walls": {**WALLS, "system_calls": 1}},
    {"event": "exited", "worker": "w1", "reason": "bored"}, {"event": "exited", "worker": "w1", "reason": ["oom"]},
    {"event": "exited", "worker": ["w1"], "reason": "oom"}, {"event": "exited", "worker": "w" * 65, "reason": "oom"},
    {"event": "memory", "worker": "w1", "bytes": "many"}, {"event": "memory", "worker": "w1", "bytes": True},
    {"event": "memory", "worker": "w1", "bytes": -1}, {"event": "memory", "worker": "w1", "bytes": 1 << 60},
    {"event": "usage", "bytes": 0.5, "cpu_s": 1}, {"event": "usage", "bytes": 1, "cpu_s": "x"},
    {"event": "usage", "bytes": 1, "cpu_s": -1}, {"event": "refused", "worker": "w1", "message": 3},
)  # fmt: skip


@pytest.mark.parametrize("event", NO_EVENTS, ids=lambda event: str(event)[:60])
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - in the words of the JSON reader, too
        read_event(event if isinstance(event, bytes) else json.dumps(event).encode())


def test_long_texts_are_cut() -> None:
    said = {**READY, "walls": {**WALLS, "missing": ["x" * 2000]}}
    assert read_event(json.dumps(said).encode())["walls"]["missing"] == ["x" * 500]


@pytest.mark.parametrize("hello", [b"[]", b"7", b"[" * 60_000, b'{"method":"hello"}', b'{"method":"hello","params":{}}',
    b'{"method":"hello","params":{"runner":"1","python":["3"]}}',
    b'{"method":"hello","params":{"runner":"1","python":"' + b"3" * 65 + b'"}}',
])  # fmt: skip
def test_what_is_no_hello_is_refused(hello: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - in the words of the JSON reader, too
        read_hello(hello)


@pytest.mark.parametrize("event", [b"garbage", {"event": "ready", "walls": 7}, {"event": "usage", "bytes": "x"}])
async def test_a_zygote_that_breaks_its_protocol_is_let_go_before_it_is_ready(zygote: Zygote, event: Any) -> None:
    zygote.say(event)
    await zygote.until_let_go()
    with pytest.raises(SandboxDied):
        await zygote.sandbox.until_ready()


async def test_a_zygote_that_breaks_its_protocol_later_ends_with_its_workers(zygote: Zygote) -> None:
    zygote.say(READY)
    await zygote.sandbox.until_ready()
    starting = asyncio.ensure_future(zygote.sandbox.start_worker())
    name, stream = await zygote.fork()
    worker = await starting
    asking = asyncio.ensure_future(worker.memory_bytes())
    zygote.say({"event": "exited", "worker": name, "reason": "x" * 2000, "status": 0})
    await zygote.until_let_go()
    assert await asking == 0
    assert await worker.kill() == "exited"
    worker.endpoint.close()
    stream.close()


async def test_walls_are_reported_once(zygote: Zygote) -> None:
    zygote.say({**READY, "walls": {**WALLS, "missing": ["own user"]}})
    await zygote.sandbox.until_ready()
    asking = asyncio.ensure_future(zygote.sandbox.usage())
    zygote.say(READY)
    await zygote.until_let_go()
    assert (await asking).memory_bytes == 0
    assert zygote.sandbox.walls["missing"] == ["own user"]


async def test_a_flood_of_events_that_nobody_asked_for_ends_the_sandbox(zygote: Zygote) -> None:
    zygote.say(READY)
    await zygote.sandbox.until_ready()
    for _ in range(5):
        zygote.say({"event": "usage", "bytes": 1, "cpu_s": 0})
    await zygote.until_let_go()


async def test_one_that_takes_no_command_now_is_asked_again_later(zygote: Zygote) -> None:
    with contextlib.suppress(SandboxDied):
        while True:
            zygote.sandbox.command("usage", "")
    with pytest.raises(SandboxDied):
        await zygote.sandbox.usage()
    with contextlib.suppress(BlockingIOError):
        while True:
            zygote.end.recv(65536)
    asking = asyncio.ensure_future(zygote.sandbox.usage())
    await asyncio.sleep(0)
    assert json.loads(zygote.end.recv(65536))["command"] == "usage"
    zygote.say({"event": "usage", "bytes": 5, "cpu_s": 0.25})
    async with asyncio.timeout(LIMIT_S):
        assert (await asking).memory_bytes == 5
