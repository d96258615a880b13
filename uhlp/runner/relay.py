"""The relay: one pair of byte streams carries a sandbox's control and the stream of every worker.

It stands between the zygote and a driver that can hand no socket into the sandbox (an engine on another machine, Docker
Desktop): the container's standard input and output carry everything. The zygote does not know; it has its control
socket, and each worker a stream of its own. No generated code ever runs in this process.

The wire, the same both ways; the host's end is `RelayLink` in sandbox/drivers/relay_link.py, which cites this:

    4 bytes   length of the payload, big-endian, at most 64 KiB
    4 bytes   number of the stream, big-endian
    payload   spliced: what the worker or its host wrote, in pieces of any size, parsed by nobody

Stream 0 carries the commands and events of zygote.py, one JSON object a frame. A `fork` names the stream of its worker,
`{"command": "fork", "worker", "stream"}`. Numbers only rise, so that nothing late reaches another worker's stream. An
empty payload ends a stream both ways; frames of a stream that has ended are dropped. A broken rule ends everything.

Nothing waits for anybody: a worker that does not read is closed alone when 32 MiB wait for it; while the host does not
read, no worker is read; whoever floods gets 64 KiB in each round, as everybody. When standard input ends, when nobody
reads standard output or when the zygote has ended, the relay ends, and the zygote with it. Standard error stays free
for last words.
"""

import json
import os
import select
import socket
import struct
from collections import deque

from . import RunnerError, seccomp, walls

FRAME = struct.Struct(">II")
PIECE_BYTES = 64 * 1024
CONTROL = 0
UNREAD_LIMIT_BYTES = 32 * 1024 * 1024
"""What may wait for one worker."""
OUTPUT_LIMIT_BYTES = 64 * 1024
"""No worker is read while more than this waits for the host."""
_STDIN, _STDOUT = 0, 1
_PACKET_BYTES = 64 * 1024


class WireBroken(RunnerError):
    """The host broke a rule of the wire."""


def flush(waiting: bytearray, descriptor: int) -> None:
    """Write what is taken now. Raises OSError when nobody will read it."""
    while waiting:
        try:
            taken = os.write(descriptor, waiting)
        except BlockingIOError:
            return
        del waiting[:taken]  # moves nothing


class WorkerStream:
    """The relay's end of one worker's stream."""

    __slots__ = ("inbox", "number", "socket")

    def __init__(self, number: int, end: socket.socket) -> None:
        end.setblocking(False)
        self.number, self.socket, self.inbox = number, end, bytearray()


class Relay:
    """One loop over standard input and output, the zygote's control socket and the workers' streams."""

    def __init__(self, *, source: int, sink: int, control: socket.socket) -> None:
        for descriptor in (source, sink, control.fileno()):
            os.set_blocking(descriptor, False)
        self._source, self._sink, self._control = source, sink, control
        self._received = bytearray()
        self._output = bytearray()
        self._commands: deque[tuple[bytes, socket.socket | None]] = deque()
        self._streams: dict[int, WorkerStream] = {}
        self._by_descriptor: dict[int, WorkerStream] = {}
        self._last_number = CONTROL
        self._poll = select.poll()
        self._watched: dict[int, int] = {}
        self._may_read = True
        self._has_zygote = self._has_host = True

    def run(self) -> None:
        """Serve until the host or the zygote has gone; in the latter case the host is told all that was said."""
        self._watch(self._source, select.POLLIN)
        self._watch(self._control.fileno(), select.POLLIN)
        while self._has_host and (self._has_zygote or self._output):
            for descriptor, happened in self._poll.poll():
                if descriptor == self._source:
                    self._read_host()
                elif stream := self._by_descriptor.get(descriptor):
                    self._serve_worker(stream, happened)
                elif descriptor != self._sink and self._has_zygote:
                    self._serve_zygote(happened)
            self._write_host()

    # -- the host

    def _read_host(self) -> None:
        try:
            data = os.read(self._source, PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._has_host = False
            return
        received = self._received
        received += data
        start = 0
        while len(received) - start >= FRAME.size:
            length, number = FRAME.unpack_from(received, start)
            if length > PIECE_BYTES:
                raise WireBroken(f"a frame of {length} bytes")
            body = start + FRAME.size
            if len(received) - body < length:
                break
            start = body + length
            self._take(number, bytes(received[body:start]))
        del received[:start]

    def _take(self, number: int, payload: bytes) -> None:
        if number == CONTROL:
            self._take_command(payload)
            return
        stream = self._streams.get(number)
        if stream is None:
            return
        if not payload:
            self._forget(stream)
            return
        stream.inbox += payload
        self._write_worker(stream)

    def _write_host(self) -> None:
        try:
            flush(self._output, self._sink)
        except OSError:
            self._has_host = False
            return
        self._watch(self._sink, select.POLLOUT if self._output else 0)
        may_read = len(self._output) < OUTPUT_LIMIT_BYTES
        if may_read is not self._may_read:
            self._may_read = may_read
            for stream in self._streams.values():
                self._watch_worker(stream)
            self._watch_zygote()

    def _tell(self, number: int, payload: bytes) -> None:
        self._output += FRAME.pack(len(payload), number)
        self._output += payload

    # -- the zygote

    def _take_command(self, packet: bytes) -> None:
        command = json.loads(packet)
        if command["command"] != "fork":
            self._command(packet, None)
            return
        number = command.pop("stream")
        if number <= self._last_number:
            raise WireBroken(f"stream {number} was used before")
        self._last_number = number
        try:
            ours, theirs = socket.socketpair()
        except OSError as fault:
            refused = {"event": "refused", "worker": command["worker"], "message": str(fault)}
            self._tell(CONTROL, json.dumps(refused).encode())
            self._tell(number, b"")
            return
        stream = WorkerStream(number, ours)
        self._streams[number] = self._by_descriptor[ours.fileno()] = stream
        self._watch_worker(stream)
        self._command(json.dumps(command).encode(), theirs)

    def _command(self, packet: bytes, stream: socket.socket | None) -> None:
        self._commands.append((packet, stream))
        self._write_zygote()

    def _write_zygote(self) -> None:
        while self._commands and self._has_zygote:
            packet, stream = self._commands[0]
            try:
                socket.send_fds(self._control, [packet], [] if stream is None else [stream.fileno()])
            except BlockingIOError:
                break
            except OSError:
                self._lose_zygote()
                return
            self._commands.popleft()
            if stream is not None:
                stream.close()
        self._watch_zygote()

    def _serve_zygote(self, happened: int) -> None:
        if happened != select.POLLIN:
            self._write_zygote()
        if self._may_read and self._has_zygote:
            try:
                packet = self._control.recv(_PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if packet:
                self._tell(CONTROL, packet)
            else:
                self._lose_zygote()

    def _lose_zygote(self) -> None:
        """Its workers go with it."""
        self._has_zygote = False
        self._watch(self._control.fileno(), 0)
        for stream in list(self._streams.values()):
            self._forget(stream)

    # -- workers

    def _serve_worker(self, stream: WorkerStream, happened: int) -> None:
        if happened != select.POLLIN:
            self._write_worker(stream)
        if not self._may_read or happened == select.POLLOUT:
            return
        try:
            data = stream.socket.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._tell(stream.number, data)
        if not data:
            self._forget(stream)

    def _write_worker(self, stream: WorkerStream) -> None:
        try:
            flush(stream.inbox, stream.socket.fileno())
        except OSError:
            stream.inbox.clear()  # it has gone; what it said before it went is still read
        if len(stream.inbox) > UNREAD_LIMIT_BYTES:
            self._tell(stream.number, b"")
            self._forget(stream)
        else:
            self._watch_worker(stream)

    def _forget(self, stream: WorkerStream) -> None:
        self._watch(stream.socket.fileno(), 0)
        del self._streams[stream.number], self._by_descriptor[stream.socket.fileno()]
        stream.socket.close()

    # -- what to wait for

    def _watch_worker(self, stream: WorkerStream) -> None:
        reading = select.POLLIN if self._may_read else 0
        self._watch(stream.socket.fileno(), reading | (select.POLLOUT if stream.inbox else 0))

    def _watch_zygote(self) -> None:
        if self._has_zygote:
            reading = select.POLLIN if self._may_read else 0
            self._watch(self._control.fileno(), reading | (select.POLLOUT if self._commands else 0))

    def _watch(self, descriptor: int, events: int) -> None:
        """Wait for these events; for none at all, an end that has gone would be reported again and again."""
        if self._watched.get(descriptor, 0) == events:
            return
        if events:
            self._poll.register(descriptor, events)
            self._watched[descriptor] = events
        else:
            self._poll.unregister(descriptor)
            del self._watched[descriptor]


def stand_between(uid: int | None) -> int:
    """Fork: the parent gives up all it can, relays and exits here; the child gets the descriptor of its control socket.

    To be called before anything is loaded or given up. `uid`: the user to become, as in the settings.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        nowhere = os.open("/dev/null", os.O_RDWR)
        os.dup2(nowhere, _STDIN)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)
        return theirs.detach()
    theirs.close()
    if uid is not None:
        walls.take_identity(uid)
    walls.drop_capabilities()
    walls.hide_memory()
    if seccomp.is_supported():
        walls.filter_sandbox_calls()
    Relay(source=_STDIN, sink=_STDOUT, control=ours).run()
    os._exit(0)  # at this the zygote's control socket closes, and everything ends with it
