"""The relay between two sockets: the test is the host on one side and the zygote on the other."""

import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from uhlp.runner.relay import FRAME, OUTPUT_LIMIT_BYTES, PIECE_BYTES, UNREAD_LIMIT_BYTES, Relay, WireBroken

Json = dict[str, Any]
LIMIT_S = 10.0


class World:
    """A running relay; `host` and `zygote` are the other ends of what it stands between."""

    def __init__(self) -> None:
        source, self._to_relay = os.pipe()
        self._from_relay, sink = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.zygote = ours
        self.zygote.settimeout(LIMIT_S)
        self.ended_with: BaseException | None = None
        relay = Relay(source=source, sink=sink, control=theirs)

        def serve() -> None:
            try:
                relay.run()
            except BaseException as error:
                self.ended_with = error
            theirs.close()
            os.close(source)
            os.close(sink)

        self._thread = threading.Thread(target=serve)
        self._thread.start()
        self._streams: list[socket.socket] = []

    def send(self, number: int, payload: bytes) -> None:
        self.send_raw(FRAME.pack(len(payload), number) + payload)

    def send_raw(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._to_relay, view) :]

    def command(self, **command: Any) -> None:
        self.send(0, json.dumps(command).encode())

    def read(self) -> tuple[int, bytes]:
        """The next frame for the host."""
        length, number = FRAME.unpack(self._exactly(FRAME.size))
        assert length <= PIECE_BYTES
        return number, self._exactly(length)

    def _exactly(self, number: int) -> bytes:
        data = b""
        while len(data) < number:
            ready, _, _ = select.select([self._from_relay], [], [], LIMIT_S)
            assert ready, "the relay says nothing"
            chunk = os.read(self._from_relay, number - len(data))
            assert chunk, "the relay has ended"
            data += chunk
        return data

    def fork(self, worker: str, number: int) -> socket.socket:
        """Have a worker forked; its end of the stream, as the zygote receives it."""
        self.command(command="fork", worker=worker, stream=number)
        packet, descriptors, _, _ = socket.recv_fds(self.zygote, 4096, 1)
        assert json.loads(packet) == {"command": "fork", "worker": worker}
        stream = socket.socket(fileno=descriptors[0])
        stream.settimeout(LIMIT_S)
        self._streams.append(stream)
        return stream

    def end_of_input(self) -> None:
        if self._to_relay >= 0:
            os.close(self._to_relay)
            self._to_relay = -1

    def join(self) -> None:
        """Returns when the relay has ended."""
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.end_of_input()
        self.join()
        self.zygote.close()
        os.close(self._from_relay)
        for stream in self._streams:
            stream.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def receive(stream: socket.socket, number: int) -> bytes:
    data = b""
    while len(data) < number:
        chunk = stream.recv(number - len(data))
        assert chunk, "the stream has ended"
        data += chunk
    return data


def test_commands_and_events_pass_as_they_are(world: World) -> None:
    command = b'{"command":  "kill", "worker": "w9"}'
    world.send(0, command)
    assert world.zygote.recv(4096) == command
    event = b'{"event":  "exited", "worker": "w9"}'
    world.zygote.send(event)
    assert world.read() == (0, event)


def test_a_fork_gives_the_zygote_a_stream_that_is_spliced_both_ways(world: World) -> None:
    first, second = world.fork("w1", 1), world.fork("w2", 2)
    world.send(2, b"for the second")
    world.send(1, b"for the first")
    assert (receive(first, 13), receive(second, 14)) == (b"for the first", b"for the second")
    second.sendall(b"from the second")
    assert world.read() == (2, b"from the second")
    first.sendall(b"from the first")
    assert world.read() == (1, b"from the first")


def test_what_is_large_comes_whole_and_in_order_both_ways(world: World) -> None:
    stream = world.fork("w1", 1)
    large = os.urandom(3_000_000)

    def host_writes() -> None:
        for start in range(0, len(large), PIECE_BYTES):
            world.send(1, large[start : start + PIECE_BYTES])

    def worker_echoes() -> None:
        stream.sendall(receive(stream, len(large)))

    threads = [threading.Thread(target=task) for task in (host_writes, worker_echoes)]
    for thread in threads:
        thread.start()
    received = b""
    while len(received) < len(large):
        number, payload = world.read()
        assert number == 1
        received += payload
    assert received == large
    for thread in threads:
        thread.join(LIMIT_S)


def test_a_header_forged_by_a_worker_stays_inside_its_own_stream(world: World) -> None:
    forger, neighbour = world.fork("w1", 1), world.fork("w2", 2)
    event = b'{"event": "exited", "worker": "w2", "reason": "oom", "status": 9}'
    forged = FRAME.pack(5, 2) + b"never" + FRAME.pack(len(event), 0) + event + FRAME.pack(0, 2)
    forger.sendall(forged)
    assert world.read() == (1, forged)
    neighbour.sendall(b"alive")
    assert world.read() == (2, b"alive")


def test_a_worker_that_closes_ends_its_stream_and_nobody_elses(world: World) -> None:
    gone, neighbour = world.fork("w1", 1), world.fork("w2", 2)
    gone.sendall(b"last words")
    gone.close()
    assert [world.read(), world.read()] == [(1, b"last words"), (1, b"")]
    world.send(1, b"too late")
    world.send(2, b"in time")
    assert receive(neighbour, 7) == b"in time"


def test_an_empty_frame_ends_the_workers_end(world: World) -> None:
    stream = world.fork("w1", 1)
    world.send(1, b"done")
    world.send(1, b"")
    assert receive(stream, 4) == b"done"
    assert stream.recv(1) == b""


def test_frames_for_streams_that_never_were_are_dropped(world: World) -> None:
    world.send(7, b"nobody")
    world.send(7, b"")
    stream = world.fork("w1", 8)
    world.send(8, b"somebody")
    assert receive(stream, 8) == b"somebody"


def test_a_worker_that_reads_nothing_is_closed_alone(world: World) -> None:
    deaf, neighbour = world.fork("w1", 1), world.fork("w2", 2)
    piece = bytes(PIECE_BYTES)
    sent = 0
    while sent <= UNREAD_LIMIT_BYTES + 4 * 1024 * 1024:  # what the kernel holds comes on top
        world.send(1, piece)
        sent += len(piece)
    assert world.read() == (1, b"")
    world.send(2, b"still here?")
    assert receive(neighbour, 11) == b"still here?"
    neighbour.sendall(b"yes")
    assert world.read() == (2, b"yes")
    deaf.close()


def test_while_the_host_reads_nothing_no_worker_is_read(world: World) -> None:
    flooder = world.fork("w1", 1)
    flooder.setblocking(False)
    written = 0
    while select.select([], [flooder], [], 0.3)[1]:
        written += flooder.send(bytes(PIECE_BYTES))
    assert written < 8 * OUTPUT_LIMIT_BYTES + 2 * socket_bytes(flooder)
    received = 0
    while received < written:
        number, payload = world.read()
        assert number == 1
        received += len(payload)


def socket_bytes(stream: socket.socket) -> int:
    return stream.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)


def test_a_worker_that_floods_does_not_keep_its_neighbour_from_speaking(world: World) -> None:
    flooder, neighbour = world.fork("w1", 1), world.fork("w2", 2)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            flooder.sendall(bytes(PIECE_BYTES))

    thread = threading.Thread(target=flood)
    thread.start()
    for _ in range(8):
        world.read()
    for _ in range(20):
        neighbour.sendall(b"a word")
        between = 0
        while (frame := world.read())[0] == 1:
            between += len(frame[1])
        assert frame == (2, b"a word")
        assert between <= 4 * OUTPUT_LIMIT_BYTES + 2 * PIECE_BYTES
    stop.set()
    while thread.is_alive():
        world.read()


@pytest.mark.parametrize("number", [3, 2, 0])
def test_a_number_that_was_used_or_passed_by_breaks_the_wire(world: World, number: int) -> None:
    world.fork("w1", 3)
    world.command(command="fork", worker="w2", stream=number)
    world.join()
    assert isinstance(world.ended_with, WireBroken)


def test_a_frame_that_is_too_long_breaks_the_wire(world: World) -> None:
    world.send_raw(FRAME.pack(PIECE_BYTES + 1, 1))
    world.join()
    assert isinstance(world.ended_with, WireBroken)


def test_the_end_of_input_ends_everything(world: World) -> None:
    world.fork("w1", 1)
    world.end_of_input()
    world.join()
    assert world.ended_with is None
    assert world.zygote.recv(1) == b""


def test_when_the_zygote_ends_the_host_hears_what_it_said_and_then_the_end(world: World) -> None:
    world.fork("w1", 1)
    for number in range(50):
        world.zygote.send(json.dumps({"event": "exited", "worker": f"w{number}"}).encode())
    world.zygote.close()
    for number in range(50):
        assert json.loads(world.read()[1])["worker"] == f"w{number}"
    world.join()
    assert world.ended_with is None


def test_a_host_that_reads_no_more_ends_the_relay() -> None:
    world = World()
    stream = world.fork("w1", 1)
    os.close(world._from_relay)
    world._from_relay = os.open("/dev/null", os.O_RDONLY)
    stream.sendall(b"is anybody there?")
    world.join()
    world.close()


# what stands around the zygote

_STAND_BETWEEN = """
import os, sys
sys.path.insert(0, sys.argv[1])
from uhlp.runner import relay
control = relay.stand_between(int(sys.argv[2]) if sys.argv[2] else None)
import json, socket
end = socket.socket(fileno=control)
links = [os.readlink(f"/proc/self/fd/{number}") for number in (0, 1)]
end.send(json.dumps({"pid": os.getpid(), "relay": os.getppid(), "links": links}).encode())
end.recv(1)
"""


def test_the_relay_has_given_up_all_it_can_and_the_zygote_has_not_its_streams() -> None:
    is_root = os.geteuid() == 0
    root = str(Path(__file__).parents[3])
    line = [sys.executable, "-I", "-c", _STAND_BETWEEN, root, "65534" if is_root else ""]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        length, number = FRAME.unpack(process.stdout.read(FRAME.size))
        said = json.loads(process.stdout.read(length))
        assert number == 0
        assert said["links"] == ["/dev/null", "/dev/null"]
        assert said["relay"] == process.pid
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        if is_root:
            assert set(status["Uid"].split()) == {"65534"}
            assert Path(f"/proc/{process.pid}/environ").stat().st_uid == 0  # hidden from its own user
        process.stdin.close()
        assert process.wait(LIMIT_S) == 0
