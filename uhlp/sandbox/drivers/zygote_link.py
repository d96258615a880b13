"""The host's end of a zygote's control socket; the messages are described in `runner/zygote.py`."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Protocol

import structlog

from uhlp.errors import SandboxDied
from uhlp.sandbox.drivers.zygote_events import PACKET_BYTES, Event, read_event

_PACKETS_PER_TURN = 32
_log = structlog.get_logger(__name__)
OnEvent = Callable[[Event], None]
OnClose = Callable[[], None]


class Link(Protocol):
    """Carries commands to a zygote, with the descriptor of a worker's stream, and its events back.

    It hands every event, checked, to the `on_event` it was made with, and calls `on_close` once, when the zygote has
    gone. A zygote that sends what is no event, or an event that `on_event` refuses (ValueError), is let go.
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
            for _ in range(_PACKETS_PER_TURN):  # then the loop's other work; what is left calls again
                packet = self._control.recv(PACKET_BYTES)
                if not packet:
                    break
                self._on_event(read_event(packet))
                if not self.is_open:
                    return
            else:
                return
        except BlockingIOError:
            return
        except ValueError as error:
            _log.warning("sandbox_broke_its_protocol", problem=str(error))
        except OSError:
            pass  # the zygote was killed with packets unread: the same as its end
        self.close()

    def close(self) -> None:
        """Let go; the zygote ends itself when it sees this."""
        if self.is_open:
            asyncio.get_running_loop().remove_reader(self._control)
            self._control.close()
            self._on_close()
