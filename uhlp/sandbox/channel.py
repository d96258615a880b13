"""Channel: JSON-RPC 2.0 frames to one worker (4-byte big-endian length, UTF-8 JSON).

The peer is untrusted. A frame that is too large, holds too many values, is not JSON or not JSON-RPC breaks the
channel, and with it every call in flight; our own runner says so of an answer before it sends one. Writes never wait:
what the peer does not read is kept up to a limit, then the channel breaks. Of many frames that arrive at once, some are
heard in each turn of the event loop, so that others are heard between them.
"""

import asyncio
import socket
from struct import Struct
from typing import Any, NamedTuple, Protocol, cast

import orjson

from uhlp.errors import PayloadTooLarge, SandboxDied
from uhlp.sandbox.value_count import TOO_MANY_VALUES, holds_too_many_values

MAX_FRAME_BYTES = 16 * 1024 * 1024
MAX_UNREAD_BYTES = 2 * MAX_FRAME_BYTES
TURN_FRAMES = 32
TURN_BYTES = 1024 * 1024
"""After so many frames, or bytes of frames, the rest of what has arrived waits for the next turn of the loop."""

_LARGE_BYTES = 1024 * 1024
_LENGTH = Struct(">I")


class Answer(NamedTuple):
    """What the peer answered: `error` is its JSON-RPC error object, else `result` holds; the frame's size in bytes.

    `worn`: what ran may have left something in the worker, which therefore takes no further call.
    """

    result: Any
    error: dict[str, Any] | None
    size_bytes: int
    worn: bool = False


class ChannelListener(Protocol):
    """Hears what the peer says of its own accord. `params` is whatever the peer sent: check it."""

    def request_received(self, rpc_id: int | str, method: str, params: object) -> None: ...

    def notification_received(self, method: str, params: object) -> None: ...

    def channel_lost(self, problem: str) -> None:
        """Called once, whoever ended the channel."""
        ...


class Channel(asyncio.Protocol):
    """Calls the peer and hears it. When the channel ends, every call in flight fails with SandboxDied."""

    def __init__(self, listener: ChannelListener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._partial = bytearray()
        self._is_paused = False
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._forgotten: set[int] = set()
        self._last_id = 0
        self._problem: str | None = None
        self._create_future = asyncio.get_running_loop().create_future

    @classmethod
    async def open(cls, stream: socket.socket, listener: ChannelListener) -> "Channel":
        """Take over a connected socket; it is closed with the channel."""
        stream.setblocking(False)
        _, channel = await asyncio.get_running_loop().create_connection(lambda: cls(listener), sock=stream)
        return channel

    @property
    def is_open(self) -> bool:
        return self._problem is None

    def call(
        self,
        method: str,
        params: dict[str, Any],
        *,
        max_bytes: int = MAX_FRAME_BYTES,
        max_values: int | None = None,
    ) -> asyncio.Future[Answer]:
        """Send a request; the future holds the answer. Raises PayloadTooLarge, SandboxDied (the channel has ended).

        `max_values` bounds the commas of a request over 1 MiB: small values take many times their bytes when read.
        """
        if self._problem is not None:
            raise SandboxDied(self._problem)
        self._last_id = rpc_id = self._last_id + 1
        frame = orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": params})
        if len(frame) > max_bytes:
            raise PayloadTooLarge(f"{method} takes {len(frame)} bytes; a sandbox accepts {max_bytes}.")
        if max_values is not None and len(frame) > _LARGE_BYTES and frame.count(b",") > max_values:
            raise PayloadTooLarge(f"{method} holds too many values: more than {max_values} where models share memory.")
        future: asyncio.Future[Answer] = self._create_future()
        self._pending[rpc_id] = future
        self._write(frame)
        return future

    def forget(self, future: asyncio.Future[Answer]) -> None:
        """Nobody waits for this answer any more; a late one is dropped."""
        for rpc_id, pending in self._pending.items():
            if pending is future:
                del self._pending[rpc_id]
                self._forgotten.add(rpc_id)
                return

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification; nothing happens when the channel has ended."""
        self._write(orjson.dumps({"jsonrpc": "2.0", "method": method, "params": params}))

    def answer(self, rpc_id: int | str, result: dict[str, Any]) -> None:
        """Answer a request of the peer. Raises PayloadTooLarge, TypeError for what is no JSON."""
        frame = orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "result": result})
        if len(frame) > MAX_FRAME_BYTES:
            raise PayloadTooLarge(f"The result takes {len(frame)} bytes; a sandbox accepts {MAX_FRAME_BYTES}.")
        self._write(frame)

    def refuse(self, rpc_id: int | str, code: int, message: str, data: dict[str, Any] | None = None) -> None:
        """Answer a request of the peer with a JSON-RPC error."""
        error = {"code": code, "message": message, "data": data or {}}
        self._write(orjson.dumps({"jsonrpc": "2.0", "id": rpc_id, "error": error}))

    def close(self, problem: str = "The channel was closed.") -> None:
        """End the channel; calls in flight fail with SandboxDied(problem)."""
        self._end(problem)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(SandboxDied().message)

    def data_received(self, data: bytes) -> None:
        if self._is_paused:
            self._partial += data
        elif self._partial:
            self._partial += data
            self._hear_partial()
        else:
            heard = self._hear(data)
            if heard < len(data):
                self._partial = bytearray(data[heard:])

    def _hear_partial(self) -> None:
        heard = self._hear(self._partial)
        del self._partial[:heard]

    def _hear(self, received: bytes | bytearray) -> int:
        """Take this turn's share of the whole frames in `received`; where the rest starts."""
        start, end, frames = 0, len(received), 0
        while self._problem is None and end - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(received, start)
            if size > MAX_FRAME_BYTES:
                self._end(f"The sandbox sent a frame of {size} bytes; {MAX_FRAME_BYTES} is the limit.")
                break
            body = start + _LENGTH.size
            if end - body < size:
                break
            if frames == TURN_FRAMES or start > TURN_BYTES:
                self._pause()
                return start
            frames += 1
            start = body + size
            self._frame_received(received[body:start])
        return start if self._problem is None else end

    def _pause(self) -> None:
        """Read no more until the frames that are here were heard, in later turns of the loop."""
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._problem is not None or self._transport is None:
            return
        self._is_paused = False
        self._hear_partial()
        if self._problem is None and not self._is_paused:
            self._transport.resume_reading()

    def _frame_received(self, frame: bytes | bytearray) -> None:
        if holds_too_many_values(frame):
            self._end(f"The sandbox sent a frame that {TOO_MANY_VALUES}.")
            return
        try:
            message = orjson.loads(frame)
        except orjson.JSONDecodeError:
            self._end("The sandbox sent a frame that is not JSON.")
            return
        if type(message) is not dict:
            self._end("The sandbox sent a frame that is not JSON-RPC.")
            return
        rpc_id, method = message.get("id"), message.get("method")
        if method is None:
            self._answer_received(rpc_id, message, len(frame))
        elif type(method) is not str or not (rpc_id is None or _is_rpc_id(rpc_id)):
            self._end("The sandbox sent a request that is not JSON-RPC.")
        elif rpc_id is None:
            self._listener.notification_received(method, message.get("params"))
        else:
            self._listener.request_received(rpc_id, method, message.get("params"))

    def _answer_received(self, rpc_id: object, message: dict[str, Any], size_bytes: int) -> None:
        error = message.get("error")
        if type(rpc_id) is not int or (type(error) is not dict and (error is not None or "result" not in message)):
            self._end("The sandbox sent an answer that is not JSON-RPC.")
            return
        future = self._pending.pop(rpc_id, None)
        if future is not None:
            if not future.done():
                future.set_result(Answer(message.get("result"), error, size_bytes, message.get("worn") is True))
        elif rpc_id in self._forgotten:
            self._forgotten.discard(rpc_id)
        else:
            self._end("The sandbox answered a call that nobody made.")

    def _write(self, frame: bytes) -> None:
        if self._problem is not None or self._transport is None:
            return
        self._transport.write(_LENGTH.pack(len(frame)) + frame)
        if self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self._end("The sandbox does not read its channel.")

    def _end(self, problem: str) -> None:
        if self._problem is not None:
            return
        self._problem = problem
        self._partial.clear()
        pending, self._pending = self._pending, {}
        for future in pending.values():
            if not future.done():
                future.set_exception(SandboxDied(problem))
        if self._transport is not None:
            self._transport.abort()
        self._listener.channel_lost(problem)


def _is_rpc_id(value: object) -> bool:
    return type(value) is int or (type(value) is str and len(value) <= 64)
