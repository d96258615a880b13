"""The host's end of a zygote's control socket; the messages are described in `runner/zygote.py`."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any, Protocol

from uhlp.errors import SandboxDied

_PACKET_BYTES = 64 * 1024
Event = dict[str, Any]
OnEvent = Callable[[Event], None]
OnClose = Callable[[], None]


class Link(Protocol):
    """Carries commands to a zygote, with the descriptor of a worker's stream, and its events back.

    It hands every event to the `on_event` that it was made with, and calls `on_close` once, when the zygote has gone.
    """

    @property
    def is_open(self) -> bool: ...

    def send(self, command: str, worker: str, descriptor: int | None = None) -> None:
        """One command; raises SandboxDied when the zygote cannot take it. The descriptor stays the caller's."""
        ...

    def close(self) -> None:
        """Let go; the zygote ends itself when it sees this."""
        ...


class Connect(Protocol):
    """Makes the link of one sandbox."""

    def __call__(self, *, on_event: OnEvent, on_close: OnClose) -> Link: ...


class ZygoteLink:
    """A link over a sequenced-packet socket on this machine; descriptors travel with the packets."""

    def __init__(self, control: socket.socket, *, on_event: OnEvent, on_close: OnClose) -> None:
        self._control = control
        self._on_event = on_event
        self._on_close = on_close
        control.setblocking(False)
        asyncio.get_running_loop().add_reader(control, self._read)

    @property
    def is_open(self) -> bool:
        return self._control.fileno() >= 0

    def send(self, command: str, worker: str, descriptor: int | None = None) -> None:
        """One command; raises SandboxDied when the zygote cannot take it."""
        packet = json.dumps({"command": command, "worker": worker}).encode()
        try:
            socket.send_fds(self._control, [packet], [] if descriptor is None else [descriptor])
        except OSError as error:
            raise SandboxDied(f"The sandbox takes no commands: {error}") from error

    def _read(self) -> None:
        try:
            while packet := self._control.recv(_PACKET_BYTES):
                self._on_event(json.loads(packet))
        except BlockingIOError:
            return
        except OSError:
            pass  # the zygote was killed with packets unread: the same as its end
        self.close()

    def close(self) -> None:
        """Let go; the zygote ends itself when it sees this."""
        if self.is_open:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._on_close()
