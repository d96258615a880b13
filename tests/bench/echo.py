"""The floor below every sandbox: a process that reads a frame of JSON and sends it back."""

import asyncio
import contextlib
import socket
import struct
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import orjson

_LENGTH = struct.Struct(">I")


class Echo(asyncio.Protocol):
    """The near end; answers come in the order of their calls."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._transport: asyncio.Transport | None = None

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator["Echo"]:
        """Start the process at the far end of a socketpair, and end it."""
        near, far = socket.socketpair()
        command = (sys.executable, "-m", "tests.bench.echo", str(far.fileno()))
        with far:
            process = await asyncio.create_subprocess_exec(*command, pass_fds=(far.fileno(),))
        transport, echo = await asyncio.get_running_loop().create_connection(cls, sock=near)
        try:
            await echo.call({})
            yield echo
        finally:
            transport.close()
            await process.wait()

    async def call(self, message: Any) -> Any:
        """The message, back from there."""
        assert self._transport is not None
        body = orjson.dumps(message)
        self._transport.write(_LENGTH.pack(len(body)) + body)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        return await answer

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                return
            answer = orjson.loads(self._received[_LENGTH.size : end])
            del self._received[:end]
            self._waiting.popleft().set_result(answer)


def _serve(descriptor: int) -> None:
    with socket.socket(fileno=descriptor) as far, far.makefile("rwb") as stream:
        while head := stream.read(_LENGTH.size):
            body = orjson.dumps(orjson.loads(stream.read(_LENGTH.unpack(head)[0])))
            stream.write(_LENGTH.pack(len(body)) + body)
            stream.flush()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
