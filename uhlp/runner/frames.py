"""The stream of a worker: JSON-RPC 2.0 messages, each a 4-byte big-endian length and UTF-8 JSON."""

import socket
import struct
from typing import Any

import orjson

from . import RunnerError

FRAME_LIMIT_BYTES = 16 * 1024 * 1024
_HEADER = struct.Struct(">I")
_READ_BYTES = 64 * 1024
_dumps, _loads = orjson.dumps, orjson.loads


class StreamClosed(RunnerError):
    """The host has gone, or broke the frame protocol."""


class NotSendable(RunnerError):
    """This message is too large or no JSON (`code` says which); the stream is as good as before."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class FrameStream:
    """Blocking reads and writes of whole frames; used by one thread."""

    def __init__(self, stream: socket.socket) -> None:
        stream.setblocking(True)
        self._stream = stream
        self._buffer = bytearray()

    def read(self) -> dict[str, Any]:
        """The next message; blocks until it is whole. Raises StreamClosed."""
        while True:
            frame = self._take()
            if frame is not None:
                return frame
            try:
                chunk = self._stream.recv(_READ_BYTES)
            except OSError as error:
                raise StreamClosed(str(error)) from error
            if not chunk:
                raise StreamClosed("end of stream")
            self._buffer += chunk

    def _take(self) -> dict[str, Any] | None:
        buffer = self._buffer
        if len(buffer) < 4:
            return None
        (length,) = _HEADER.unpack_from(buffer)
        if length > FRAME_LIMIT_BYTES:
            raise StreamClosed(f"a frame of {length} bytes is over the limit")
        if len(buffer) < 4 + length:
            return None
        try:
            message = _loads(memoryview(buffer)[4 : 4 + length])
        except orjson.JSONDecodeError as error:
            raise StreamClosed("a frame is not JSON") from error
        finally:
            del buffer[: 4 + length]
        if not isinstance(message, dict):
            raise StreamClosed("a frame is not an object")
        return message

    def write(self, message: dict[str, Any]) -> None:
        """Send one message whole. Raises StreamClosed, NotSendable (nothing was sent)."""
        try:
            body = _dumps(message)
        except TypeError as error:
            raise NotSendable("BAD_REQUEST", str(error)) from error
        if len(body) > FRAME_LIMIT_BYTES:
            raise NotSendable("PAYLOAD_TOO_LARGE", f"it has {len(body)} bytes; the limit is {FRAME_LIMIT_BYTES}")
        try:
            self._stream.sendall(_HEADER.pack(len(body)) + body)
        except OSError as error:
            raise StreamClosed(str(error)) from error
