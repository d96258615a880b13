"""The channel: frames, broken peers, sizes."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest

from uhlp.errors import PayloadTooLarge, SandboxDied
from uhlp.sandbox.channel import MAX_FRAME_BYTES, TURN_FRAMES, Channel
from uhlp.sandbox.value_count import MAX_VALUES, holds_too_many_values


def frame(message: Any) -> bytes:
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return struct.pack(">I", len(body)) + body


class Peer:
    """The other end: reads and writes raw frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> dict[str, Any]:
        (size,) = struct.unpack(">I", await self._reader.readexactly(4))
        return json.loads(await self._reader.readexactly(size))

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def close(self) -> None:
        self._writer.close()

    async def wait_closed_by_host(self) -> None:
        assert await self._reader.read() == b""


class Listener:
    def __init__(self) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.problems: list[str] = []
        self.lost = asyncio.Event()
        self.spoke = asyncio.Event()

    def request_received(self, rpc_id: int | str, method: str, params: object) -> None:
        self.heard.append((rpc_id, method, params))
        self.spoke.set()

    def notification_received(self, method: str, params: object) -> None:
        self.heard.append((method, params))
        self.spoke.set()

    def channel_lost(self, problem: str) -> None:
        self.problems.append(problem)
        self.lost.set()


class Pair:
    def __init__(self, channel: Channel, listener: Listener, peer: Peer) -> None:
        self.channel, self.listener, self.peer = channel, listener, peer


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    listener = Listener()
    channel = await Channel.open(ours, listener)
    peer = Peer(*await asyncio.open_connection(sock=theirs))
    yield Pair(channel, listener, peer)
    channel.close()
    peer.close()


async def test_a_call_is_answered_by_its_id_whatever_the_order(pair: Pair) -> None:
    first, second = pair.channel.call("execute", {"n": 1}), pair.channel.call("execute", {"n": 2})
    one, two = await pair.peer.read(), await pair.peer.read()
    assert one["method"] == "execute"
    assert one["params"] == {"n": 1}
    pair.peer.send(frame({"id": two["id"], "result": "two"}) + frame({"id": one["id"], "error": {"code": 1}}))
    assert (await second).result == "two"
    assert (await first).error == {"code": 1}


async def test_frames_may_arrive_in_any_pieces(pair: Pair) -> None:
    calls = [pair.channel.call("ping", {}) for _ in range(3)]
    ids = [(await pair.peer.read())["id"] for _ in calls]
    for byte in b"".join(frame({"id": rpc_id, "result": "x" * 300}) for rpc_id in ids):
        pair.peer.send(bytes([byte]))
        await asyncio.sleep(0)
    assert [(await call).result for call in calls] == ["x" * 300] * 3


async def test_a_large_frame_arrives_whole(pair: Pair) -> None:
    call = pair.channel.call("ping", {})
    rpc_id = (await pair.peer.read())["id"]
    pair.peer.send(frame({"id": rpc_id, "result": "y" * 3_000_000}))
    answer = await call
    assert len(answer.result) == 3_000_000
    assert answer.size_bytes > 3_000_000


async def test_requests_and_notifications_of_the_peer_are_heard_and_answered(pair: Pair) -> None:
    pair.peer.send(frame({"method": "log", "params": {"message": "hi"}}))
    pair.peer.send(frame({"id": "tool-1", "method": "tools/call", "params": {"name": "t"}}))
    while len(pair.listener.heard) < 2:
        pair.listener.spoke.clear()
        await asyncio.wait_for(pair.listener.spoke.wait(), 30)
    assert pair.listener.heard == [("log", {"message": "hi"}), ("tool-1", "tools/call", {"name": "t"})]
    pair.channel.answer("tool-1", {"ok": True})
    assert await pair.peer.read() == {"jsonrpc": "2.0", "id": "tool-1", "result": {"ok": True}}
    pair.channel.refuse("tool-2", -32000, "no", {"code": "X"})
    assert (await pair.peer.read())["error"] == {"code": -32000, "message": "no", "data": {"code": "X"}}


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack(">I", MAX_FRAME_BYTES + 1),
        frame(b"not json"),
        frame(b""),
        frame(b"\xff\xfe"),
        frame(b"[" * 5000),
        frame(b'{"id": 1, "result": 1e9999}'),
        frame([1, 2]),
        frame({"id": 99, "result": 1}),
        frame({"id": True, "result": 1}),
        frame({"id": [1], "result": 1}),
        frame({"id": "1", "result": 1}),
        frame({"id": 1}),
        frame({"id": 1, "error": "text"}),
        frame({"id": {}, "method": "tools/call"}),
        frame({"method": 7}),
        frame(b'{"id": 1, "result": [' + b"[]," * MAX_VALUES + b"[]]}"),
    ],
    ids=range(16),
)
async def test_garbage_breaks_the_channel_and_fails_calls_in_flight(pair: Pair, garbage: bytes) -> None:
    call = pair.channel.call("execute", {})
    await pair.peer.read()
    pair.peer.send(garbage)
    with pytest.raises(SandboxDied):
        await asyncio.wait_for(call, 30)
    assert not pair.channel.is_open
    assert len(pair.listener.problems) == 1
    await asyncio.wait_for(pair.peer.wait_closed_by_host(), 30)
    with pytest.raises(SandboxDied):
        pair.channel.call("ping", {})


async def test_the_end_of_the_stream_fails_every_call_in_flight(pair: Pair) -> None:
    calls = [pair.channel.call("execute", {}) for _ in range(5)]
    pair.peer.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)
    assert {type(outcome) for outcome in outcomes} == {SandboxDied}
    assert pair.listener.problems == ["The sandbox ended while it worked on the request."]


async def test_a_late_answer_to_a_forgotten_call_is_dropped_once(pair: Pair) -> None:
    call = pair.channel.call("execute", {})
    rpc_id = (await pair.peer.read())["id"]
    pair.channel.forget(call)
    pair.peer.send(frame({"id": rpc_id, "result": 1}) + frame({"method": "log"}))
    await asyncio.wait_for(pair.listener.spoke.wait(), 30)
    assert pair.channel.is_open
    pair.peer.send(frame({"id": rpc_id, "result": 1}))
    await asyncio.wait_for(pair.listener.lost.wait(), 30)


async def test_a_request_over_its_limit_is_refused_before_it_is_sent(pair: Pair) -> None:
    with pytest.raises(PayloadTooLarge):
        pair.channel.call("execute", {"text": "z" * 200}, max_bytes=100)
    with pytest.raises(PayloadTooLarge):
        pair.channel.answer("tool-1", {"text": "z" * MAX_FRAME_BYTES})
    assert pair.channel.is_open


async def test_a_peer_that_does_not_read_is_cut_off_instead_of_filling_memory(pair: Pair) -> None:
    text = "z" * (15 * 1024 * 1024)
    calls = [pair.channel.call("execute", {"text": text}) for _ in range(3)]
    assert not pair.channel.is_open
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"The sandbox does not read its channel."}


async def test_many_frames_that_arrive_at_once_are_heard_in_turns_and_in_order(pair: Pair) -> None:
    numbers = [*range(10 * TURN_FRAMES)]
    pair.channel.data_received(b"".join(frame({"method": "log", "params": n}) for n in numbers) + b"\0\0")
    heard = []
    while not heard or heard[-1] < len(numbers):
        heard.append(len(pair.listener.heard))
        await asyncio.sleep(0)
    assert heard[0] == TURN_FRAMES
    assert max(after - before for before, after in pairwise(heard)) == TURN_FRAMES
    assert [params for _, params in pair.listener.heard] == numbers
    pair.peer.send(frame({"method": "log", "params": "later"})[2:])
    while pair.listener.heard[-1] != ("log", "later"):
        pair.listener.spoke.clear()
        await asyncio.wait_for(pair.listener.spoke.wait(), 30)


async def test_a_channel_that_ends_with_frames_unheard_hears_no_more(pair: Pair) -> None:
    pair.channel.data_received(frame({"method": "log", "params": 1}) * (2 * TURN_FRAMES))
    pair.channel.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(pair.listener.heard) == TURN_FRAMES


@pytest.mark.parametrize(
    ("text", "too_many"),
    [
        (b"[" + b"1," * 98 + b"1]", False),
        (b"[" + b"1," * 100 + b"1]", True),
        (b"[" + b"[]," * 50 + b"1]", True),
        (b'{"a":{},' * 30 + b"1", False),
        (b'{"a":{},' * 80 + b"1", True),
        (json.dumps({"text": "1,[2],{3}\n" * 5_000}).encode(), False),
        (json.dumps({"text": 'a,"b",\\' * 40, "more": "," * 900}).encode(), False),
        (json.dumps(["\\", [1] * 120, '"', '\\"']).encode(), True),
        (json.dumps({"text": '"' * 101, "commas": "," * 101}).encode(), True),
        (b'["' + b"," * 101 + b'"' + b',""' * 200 + b"]", True),
    ],
    ids=range(10),
)
def test_values_are_counted_outside_of_strings(text: bytes, too_many: bool) -> None:
    assert holds_too_many_values(text, most=100) is too_many
