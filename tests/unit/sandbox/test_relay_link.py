"""The host's end of a relay: over a pipe that the test holds, and over a process with the real zygote behind it."""

import asyncio
import functools
import json
import os
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from raw_runner import Closed, RawRunner, new_data_dir, request, spec

from uhlp.errors import SandboxDied
from uhlp.sandbox.channel import Channel
from uhlp.sandbox.driver import Transport
from uhlp.sandbox.drivers import runner_home
from uhlp.sandbox.drivers.relay_link import PIECE_BYTES, PIPE_LIMIT_BYTES, UNREAD_LIMIT_BYTES, RelayLink
from uhlp.sandbox.drivers.zygote_sandbox import ZygoteSandbox

FRAME = struct.Struct(">II")
LIMIT_S = 10
MIB = 1024 * 1024


class HeldPipe:
    """A pipe whose other side is the test; it takes what it is given while `takes` is set."""

    def __init__(self) -> None:
        self.takes = asyncio.Event()
        self.takes.set()
        self.is_closed = asyncio.Event()
        self.breaks = False
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._written = bytearray()
        self._has_more = asyncio.Event()

    async def read(self) -> bytes:
        return await self._incoming.get()

    async def write(self, data: bytes) -> None:
        await self.takes.wait()
        if self.breaks:
            raise ConnectionError("no such pipe")
        self._written += data
        self._has_more.set()

    async def close(self) -> None:
        self.is_closed.set()

    def say(self, number: int, payload: bytes) -> None:
        """What the relay would say."""
        self.say_raw(FRAME.pack(len(payload), number) + payload)

    def say_raw(self, data: bytes) -> None:
        self._incoming.put_nowait(data)

    async def heard(self) -> tuple[int, bytes]:
        """The next frame that was written."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                if len(self._written) >= FRAME.size:
                    length, number = FRAME.unpack_from(self._written)
                    if len(self._written) >= FRAME.size + length:
                        payload = bytes(self._written[FRAME.size : FRAME.size + length])
                        del self._written[: FRAME.size + length]
                        return number, payload
                self._has_more.clear()
                await self._has_more.wait()


class Held:
    """A link over a held pipe, and what it told."""

    def __init__(self) -> None:
        self.pipe = HeldPipe()
        self.events: list[dict[str, Any]] = []
        self.closed = 0
        self.has_closed = asyncio.Event()
        self.link = RelayLink(self.pipe, on_event=self.events.append, on_close=self._close)
        self._owners: list[socket.socket] = []

    def _close(self) -> None:
        self.closed += 1
        self.has_closed.set()

    async def fork(self, worker: str) -> tuple[int, socket.socket]:
        """The number of the worker's stream, and its owner's end."""
        owner, theirs = socket.socketpair()
        owner.setblocking(False)
        with theirs:
            self.link.send("fork", worker, theirs.fileno())
        self._owners.append(owner)
        if not self.pipe.takes.is_set():
            return 0, owner
        number, payload = await self.pipe.heard()
        command = json.loads(payload)
        assert (number, command["command"], command["worker"]) == (0, "fork", worker)
        return command["stream"], owner

    async def until_closed(self) -> None:
        async with asyncio.timeout(LIMIT_S):
            await self.has_closed.wait()
            await self.pipe.is_closed.wait()
        assert self.closed == 1
        assert not self.link.is_open

    def end(self) -> None:
        self.link.close()
        for owner in self._owners:
            owner.close()


@pytest.fixture
async def held() -> AsyncIterator[Held]:
    held = Held()
    yield held
    held.end()


async def receive(stream: socket.socket, number: int) -> bytes:
    data = b""
    async with asyncio.timeout(LIMIT_S):
        while len(data) < number:
            chunk = await asyncio.get_running_loop().sock_recv(stream, number - len(data))
            assert chunk, "the stream has ended"
            data += chunk
    return data


async def ends(stream: socket.socket) -> bool:
    async with asyncio.timeout(LIMIT_S):
        return await asyncio.get_running_loop().sock_recv(stream, 1) == b""


async def test_every_worker_gets_a_number_of_its_own_and_its_bytes_travel_under_it(held: Held) -> None:
    (first, owner), (second, other) = await held.fork("w1"), await held.fork("w2")
    assert 0 < first < second
    owner.send(b"for the first")
    assert await held.pipe.heard() == (first, b"for the first")
    held.pipe.say(second, b"from the second")
    held.pipe.say(first, b"from the first")
    assert await receive(owner, 14) == b"from the first"
    assert await receive(other, 15) == b"from the second"


async def test_frames_that_come_in_crumbs_are_whole(held: Held) -> None:
    number, owner = await held.fork("w1")
    event = b'{"event":"forked","worker":"w1","pid":7}'
    data = FRAME.pack(5, number) + b"hello" + FRAME.pack(len(event), 0) + event + FRAME.pack(3, number) + b"you"
    for position in range(len(data)):
        held.pipe.say_raw(data[position : position + 1])
    assert await receive(owner, 8) == b"helloyou"
    assert held.events == [{"event": "forked", "worker": "w1"}]


async def test_a_workers_end_closes_its_owner_after_the_last_word(held: Held) -> None:
    number, owner = await held.fork("w1")
    last_words = os.urandom(2 * MIB)  # more than the kernel keeps
    for start in range(0, len(last_words), PIECE_BYTES):
        held.pipe.say(number, last_words[start : start + PIECE_BYTES])
    held.pipe.say(number, b"")
    held.pipe.say(number, b"after the end")
    assert await receive(owner, len(last_words)) == last_words
    assert await ends(owner)
    assert held.link.is_open


async def test_an_owner_that_closes_ends_the_stream(held: Held) -> None:
    number, owner = await held.fork("w1")
    owner.close()
    assert await held.pipe.heard() == (number, b"")
    held.pipe.say(number, b"nobody hears this")
    held.pipe.say(99, b"nor that")
    again, other = await held.fork("w2")
    assert again > number
    held.pipe.say(again, b"fine")
    assert await receive(other, 4) == b"fine"


async def test_an_owner_that_reads_nothing_loses_its_stream_and_nobody_else_does(held: Held) -> None:
    number, deaf = await held.fork("w1")
    other_number, other = await held.fork("w2")
    for _ in range((UNREAD_LIMIT_BYTES + 2 * MIB) // PIECE_BYTES):
        held.pipe.say(number, bytes(PIECE_BYTES))
    held.pipe.say(other_number, b"fine")
    assert await receive(other, 4) == b"fine"
    assert await held.pipe.heard() == (number, b"")
    assert deaf.fileno() >= 0


async def test_while_the_pipe_is_full_no_owner_is_read_and_nothing_is_lost(held: Held) -> None:
    number, owner = await held.fork("w1")
    held.pipe.takes.clear()
    data = os.urandom(8 * MIB)
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(loop.sock_sendall(owner, data))
    _, late = await held.fork("w2")
    late.send(b"late")
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not sending.done()
    assert held.link._waiting_bytes <= PIPE_LIMIT_BYTES + 2 * (PIECE_BYTES + FRAME.size)
    held.pipe.takes.set()
    heard: dict[int, bytearray] = {}
    while len(heard.get(number, b"")) < len(data) or number + 1 not in heard:
        frame, payload = await held.pipe.heard()
        heard.setdefault(frame, bytearray()).extend(payload)
    await sending
    assert bytes(heard[number]) == data
    assert bytes(heard[number + 1]) == b"late"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"", id="the end"),
        pytest.param(FRAME.pack(PIECE_BYTES + 1, 1), id="a frame that is too long"),
        pytest.param(FRAME.pack(4, 0) + b"what", id="an event that is no JSON"),
    ],
)
async def test_the_end_or_what_no_relay_says_ends_the_sandbox(held: Held, said: bytes) -> None:
    _, owner = await held.fork("w1")
    held.pipe.say_raw(said)
    await held.until_closed()
    assert await ends(owner)
    with pytest.raises(SandboxDied):
        held.link.send("usage", "")
    held.link.close()
    assert held.closed == 1


async def test_a_pipe_that_takes_no_more_ends_the_sandbox(held: Held) -> None:
    held.pipe.breaks = True
    held.link.send("usage", "")
    await held.until_closed()


# with the real zygote

_BOOT = "import sys; sys.path.append(sys.argv[1]); from uhlp_runner.zygote import main; main()"


class ProcessPipe:
    """Standard input and output of a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    async def read(self) -> bytes:
        return await self._output.read(PIECE_BYTES)

    async def write(self, data: bytes) -> None:
        self._input.write(data)
        await self._input.drain()

    async def close(self) -> None:
        self._input.close()


class RelayedSandbox(ZygoteSandbox):
    transport: Transport = "attached stdio"

    async def stop(self, reason: str) -> None:
        self._stop_reason = self._stop_reason or reason
        self.link.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runner_home.assemble(new_data_dir(tmp_path_factory))


class Relayed:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.sandbox = RelayedSandbox(
            sandbox_id="s1", spec=spec(), connect=functools.partial(RelayLink, ProcessPipe(process))
        )

    async def runner(self) -> RawRunner:
        return RawRunner(await self.sandbox.start_worker())


@pytest.fixture
async def relayed(home: Path, tmp_path: Path) -> AsyncIterator[Relayed]:
    settings = {"tmp": str(tmp_path), "memory_bytes": 512 * MIB}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-I", "-S", "-B", "-c", _BOOT, str(home), json.dumps(settings)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={},
    )
    relayed = Relayed(process)
    yield relayed
    await relayed.sandbox.stop("the test is over")
    async with asyncio.timeout(LIMIT_S):
        await process.wait()


ECHO = "def handle(inputs, context):\n    return inputs\n"
FORGE = """
import os
def handle(inputs, context):
    forged = bytes.fromhex(inputs["forged"])
    for descriptor in range(3, 64):
        try:
            os.write(descriptor, forged)
        except OSError:
            pass
    return "forged"
"""


async def test_workers_answer_large_and_small_calls_at_the_same_time(relayed: Relayed) -> None:
    first, second = await relayed.runner(), await relayed.runner()
    large = {"text": "x" * (4 * MIB)}
    answers = await asyncio.gather(first.run(ECHO, large), second.run(ECHO, {"n": 1}))
    assert [answer["data"] for answer in answers] == [large, {"n": 1}]
    assert await first.worker.memory_bytes() > MIB
    assert (await relayed.sandbox.usage()).memory_bytes > MIB


async def test_a_killed_worker_ends_its_stream_alone(relayed: Relayed) -> None:
    first, second = await relayed.runner(), await relayed.runner()
    assert await first.worker.kill() == "killed"
    with pytest.raises(Closed):
        await first.receive()
    assert (await second.run(ECHO, {"n": 1}))["data"] == {"n": 1}


async def test_a_worker_whose_owner_closes_ends(relayed: Relayed) -> None:
    runner = await relayed.runner()
    runner.worker.endpoint.close()
    assert await asyncio.wait_for(asyncio.shield(runner.worker.ended), LIMIT_S) == "exited"


class Ear:
    def __init__(self) -> None:
        self.problem: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def request_received(self, rpc_id: int | str, method: str, params: object) -> None: ...

    def notification_received(self, method: str, params: object) -> None: ...

    def channel_lost(self, problem: str) -> None:
        self.problem.set_result(problem)


@pytest.mark.parametrize(
    ("forged", "problem"),
    [
        pytest.param(FRAME.pack(5, 2) + b"never" + FRAME.pack(0, 2), "JSON", id="a frame of the relay"),
        pytest.param(struct.pack(">I", 17 * MIB) + b"{", "frame of", id="a frame that is too large"),
    ],
)
async def test_a_handler_that_writes_its_stream_breaks_its_own_channel_only(
    relayed: Relayed, forged: bytes, problem: str
) -> None:
    forger, neighbour = await relayed.runner(), await relayed.runner()
    await forger.put(FORGE)
    ear = Ear()
    channel = await Channel.open(forger.worker.endpoint, ear)
    with pytest.raises(SandboxDied, match=problem):
        await asyncio.wait_for(channel.call("execute", request(FORGE, {"forged": forged.hex()})), LIMIT_S)
    assert await asyncio.wait_for(asyncio.shield(forger.worker.ended), LIMIT_S) == "exited"
    assert (await neighbour.run(ECHO, {"n": 1}))["data"] == {"n": 1}


async def test_the_relays_end_is_everybodys(relayed: Relayed) -> None:
    first, second = await relayed.runner(), await relayed.runner()
    relayed.process.send_signal(signal.SIGKILL)
    for runner in (first, second):
        with pytest.raises(Closed):
            await runner.receive()
        assert await runner.worker.kill() == "exited"
    with pytest.raises(SandboxDied):
        await relayed.sandbox.start_worker()
    assert (await relayed.sandbox.usage()).memory_bytes == 0
