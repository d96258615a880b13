"""JoinedWrites: a connection's transport, on which the head of an answer leaves together with its body."""

from asyncio import AbstractEventLoop, BaseProtocol, Handle, Transport
from typing import Any


class JoinedWrites(Transport):
    """Holds back one piece until the next one comes, and no longer than this turn of the event loop.

    uvicorn writes head and body one after the other. Each of them alone is a packet and a system call, and wakes the
    client up; that was a tenth of what a short answer takes.
    """

    def __init__(self, transport: Transport, loop: AbstractEventLoop) -> None:
        super().__init__()
        self.transport = transport
        self._loop = loop
        self._held = b""
        self._turn: Handle | None = None

    def write(self, data: Any) -> None:
        if self._turn is not None:
            held = self._take()
            self.transport.writelines((held, data) if data else (held,))
        elif data:
            self._held = bytes(data)
            self._turn = self._loop.call_soon(self.flush)

    def write_whole(self, data: bytes) -> None:
        """Send what is held back, and `data` with it: nothing will follow that it could wait for."""
        if self._turn is not None:
            self.transport.writelines((self._take(), data))
        else:
            self.transport.write(data)

    def flush(self) -> None:
        """Send what is held back, unless the connection has ended meanwhile."""
        if self._turn is not None:
            held = self._take()
            if not self.transport.is_closing():
                self.transport.write(held)

    def write_eof(self) -> None:
        self.flush()
        self.transport.write_eof()

    def close(self) -> None:
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        self._take()
        self.transport.abort()

    def get_write_buffer_size(self) -> int:
        return len(self._held) + self.transport.get_write_buffer_size()

    def is_closing(self) -> bool:
        return self.transport.is_closing()

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.transport.get_extra_info(name, default)

    def set_protocol(self, protocol: BaseProtocol) -> None:
        self.transport.set_protocol(protocol)

    def _take(self) -> bytes:
        held, self._held = self._held, b""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        return held
