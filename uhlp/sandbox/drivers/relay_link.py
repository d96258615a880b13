"""The host's end of a relay: a zygote's control and its workers' streams over one pipe of bytes.

The wire is described in `runner/relay.py`. To a sandbox this is what `ZygoteLink` is, so that a driver chooses one of
the two and nothing else changes: a worker's endpoint is a socket here as there, and this end of it is spliced into the
pipe. Nothing waits for anybody: what came out of the pipe is kept for a worker's owner who does not read, 32 MiB at
most, then that stream ends alone; while the pipe is full, no worker's owner is read.
"""

import asyncio
import json
import socket
from struct import Struct
from typing import Protocol

import structlog

from uhlp.errors import SandboxDied
from uhlp.sandbox.drivers.zygote_events import Event, read_event
from uhlp.sandbox.drivers.zygote_link import OnClose, OnEvent

PIECE_BYTES = 64 * 1024
UNREAD_LIMIT_BYTES = 32 * 1024 * 1024
PIPE_LIMIT_BYTES = 256 * 1024
"""No worker's owner is read while more than this waits for the pipe."""

_FRAME = Struct(">II")
_CONTROL = 0
_log = structlog.get_logger(__name__)


class BytePipe(Protocol):
    """Two streams of bytes, one each way: a container's attached input and output."""

    async def read(self) -> bytes:
        """What has come; empty when the other side has gone. Raises OSError."""
        ...

    async def write(self, data: bytes) -> None:
        """Returns when more may be written. Raises OSError."""
        ...

    async def close(self) -> None:
        """Let go of both. Safe to repeat."""
        ...


class RelayLink:
    """A link over a pipe of bytes; descriptors stay here and are spliced."""

    def __init__(self, pipe: BytePipe, *, on_event: OnEvent, on_close: OnClose) -> None:
        self._pipe = pipe
        self._on_event = on_event
        self._on_close = on_close
        self._received = bytearray()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_wanted = asyncio.Event()
        self._splices: dict[int, _Splice] = {}
        self._last_number = _CONTROL
        self._may_read = True
        self._is_open = True
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read()), loop.create_task(self._write())]

    @property
    def is_open(self) -> bool:
        return self._is_open

    def send(self, command: str, worker: str, descriptor: int | None = None) -> None:
        """One command; raises SandboxDied when the sandbox has gone. The descriptor stays the caller's."""
        if not self._is_open:
            raise SandboxDied("The sandbox takes no commands: its stream has ended.")
        message: Event = {"command": command, "worker": worker}
        if descriptor is not None:
            self._last_number = message["stream"] = self._last_number + 1
            end = socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
            self._splices[self._last_number] = _Splice(self, self._last_number, end, self._may_read)
        self.put(_CONTROL, json.dumps(message).encode())

    def close(self) -> None:
        """Let go; the sandbox ends itself when it sees this."""
        if not self._is_open:
            return
        self._is_open = False
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._tasks.append(asyncio.get_running_loop().create_task(self._pipe.close()))
        for splice in list(self._splices.values()):
            splice.close()
        self._on_close()

    def put(self, number: int, payload: bytes) -> None:
        """Have a piece of a stream written; an empty one ends the stream."""
        self._waiting.append(_FRAME.pack(len(payload), number) + payload)
        self._waiting_bytes += _FRAME.size + len(payload)
        self._is_wanted.set()
        if self._waiting_bytes > PIPE_LIMIT_BYTES:
            self._let_read(False)

    def forget(self, number: int) -> None:
        """This stream has been closed here."""
        self._splices.pop(number, None)

    def _let_read(self, may_read: bool) -> None:
        if may_read is not self._may_read:
            self._may_read = may_read
            for splice in self._splices.values():
                splice.watch(may_read)

    async def _write(self) -> None:
        try:
            while True:
                await self._is_wanted.wait()
                self._is_wanted.clear()
                data, self._waiting, self._waiting_bytes = b"".join(self._waiting), [], 0
                await self._pipe.write(data)
                if self._waiting_bytes <= PIPE_LIMIT_BYTES:
                    self._let_read(True)
        except OSError as error:
            _log.info("sandbox_stream_lost", problem=str(error))
        finally:
            self.close()

    async def _read(self) -> None:
        try:
            while data := await self._pipe.read():
                self._take_data(data)
        except (OSError, ValueError) as error:
            _log.info("sandbox_stream_lost", problem=str(error))
        finally:
            self.close()

    def _take_data(self, data: bytes) -> None:
        """Raises ValueError for what no relay says."""
        received = self._received
        received += data
        start, end = 0, len(received)
        while end - start >= _FRAME.size and self._is_open:
            length, number = _FRAME.unpack_from(received, start)
            if length > PIECE_BYTES:
                raise ValueError(f"a piece of {length} bytes")
            body = start + _FRAME.size
            if end - body < length:
                break
            start = body + length
            self._take(number, bytes(received[body:start]))
        del received[:start]

    def _take(self, number: int, payload: bytes) -> None:
        if number == _CONTROL:
            self._on_event(read_event(payload))
        elif splice := self._splices.get(number):
            if payload:
                splice.deliver(payload)
            else:
                splice.finish()


class _Splice:
    """This side of one worker's endpoint."""

    def __init__(self, link: RelayLink, number: int, end: socket.socket, may_read: bool) -> None:
        end.setblocking(False)
        self._link, self._number, self._end = link, number, end
        self._undelivered = bytearray()
        self._has_ended = False
        self._loop = asyncio.get_running_loop()
        self.watch(may_read)

    def watch(self, may_read: bool) -> None:
        """Read the worker's owner, or do not."""
        if may_read and not self._has_ended:
            self._loop.add_reader(self._end, self._read)
        else:
            self._loop.remove_reader(self._end)

    def deliver(self, payload: bytes) -> None:
        """Hand on what the worker said."""
        if self._has_ended:
            return
        was_waiting = bool(self._undelivered)
        self._undelivered += payload
        if not was_waiting:
            self._flush()
            if self._undelivered:
                self._loop.add_writer(self._end, self._flush)
        elif len(self._undelivered) > UNREAD_LIMIT_BYTES:
            self._give_up()

    def finish(self) -> None:
        """The worker's end has closed: the rest is handed on, then this one closes."""
        self._has_ended = True
        self.watch(False)
        if not self._undelivered:
            self.close()

    def close(self) -> None:
        """Let go at once."""
        if self._end.fileno() >= 0:
            self._loop.remove_reader(self._end)
            self._loop.remove_writer(self._end)
            self._end.close()
        self._undelivered.clear()
        self._link.forget(self._number)

    def _give_up(self) -> None:
        if not self._has_ended:
            self._link.put(self._number, b"")
        self.close()

    def _read(self) -> None:
        try:
            data = self._end.recv(PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._link.put(self._number, data)
        else:
            self._give_up()

    def _flush(self) -> None:
        try:
            while self._undelivered:
                sent = self._end.send(self._undelivered)
                del self._undelivered[:sent]  # moves nothing
        except BlockingIOError:
            return
        except OSError:
            self._give_up()
            return
        self._loop.remove_writer(self._end)
        if self._has_ended:
            self.close()
