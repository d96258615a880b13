"""Exchange: a request and its answer as a connection has them at hand, for lanes that read and write no stream.

ASGI's `receive` and `send` are made for streams: for a body that is here already and an answer that is complete they
take six coroutines, two timers and two writes, a tenth of the time of a short request. `uhlp serve` puts an Exchange
into the scope beside them; behind another server there is none.
"""

from asyncio import AbstractEventLoop, Task, TimerHandle
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from uhlp.web.joined_writes import JoinedWrites

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXCHANGE = "uhlp.exchange"
"""Its name in the scope."""

GRACE_S = 0.05
"""Work that ends so soon after its client has left is not cancelled: that would end its sandbox."""

MOST_JOINED_BYTES = 64 * 1024
"""A longer body is not copied behind its head."""

_NO_LENGTH = frozenset({204, 304})
_CONTROL = bytes({*range(32), 127} - set(b"\t"))
"""What no header holds. The end of its line is two of them."""


class Exchange:
    """One a connection, whose requests have it in turn: a request may use it until it has its answer.

    Also watches for the client to leave, like DisconnectWatch.
    """

    __slots__ = ("_cycle", "_loop", "_task", "_timer", "_transport", "client_left")

    def __init__(self, transport: JoinedWrites, loop: AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._cycle: RequestResponseCycle | None = None
        self._task: Task[Any] | None = None
        self._timer: TimerHandle | None = None
        self.client_left = False

    def begin(self, cycle: "RequestResponseCycle") -> None:
        """The next request has it."""
        self._cycle = cycle
        cast(dict[str, Any], cycle.scope)[EXCHANGE] = self

    def take_body(self) -> bytes | None:
        """The whole body, where it has arrived; None where it has to be received."""
        cycle = self._cycle
        if cycle is None or cycle.more_body or cycle.waiting_for_100_continue:
            return None
        body, cycle.body = bytes(cycle.body), bytearray()
        cycle.message_event.clear()
        cycle.flow.resume_reading()
        return body

    def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> bool:
        """Send a whole answer, whose headers state its length; False where it has to be sent as ASGI sends one: the
        connection ends with it, the client reads too slowly, the body is large, or there is none.
        """
        cycle = self._cycle
        if (
            cycle is None
            or not cycle.keep_alive
            or cycle.flow.write_paused
            or cycle.access_log
            or len(body) > MOST_JOINED_BYTES
            or status in _NO_LENGTH
            or cycle.scope["method"] == "HEAD"
        ):
            return False
        all_headers = [*cycle.default_headers, *headers]
        lines = b"\r\n".join([*map(b": ".join, all_headers), b""])
        if b"connection:" in lines:
            return False
        if len(lines) - len(lines.translate(None, _CONTROL)) != 2 * len(all_headers):
            raise RuntimeError("A header of the answer is none of HTTP's.")
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self._transport.write_whole(b"%b%b\r\n%b" % (STATUS_LINE[status], lines, body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def watch(self, task: "Task[Any]") -> "Exchange":
        """Cancel `task` when the client leaves; `client_left` then says so. Call `stop` when the work is done."""
        self._task = task
        if self._cycle is None:
            self._give_up_soon()
        else:
            self._cycle.flow.resume_reading()  # a request that waits behind this one stopped it
        return self

    def stop(self) -> None:
        """End the watch; safe after the client has left."""
        self._task = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self) -> None:
        """The connection is lost, or its request is answered elsewhere. uvicorn tells the last request that arrived;
        the one at work may be an earlier one."""
        cycle, self._cycle = self._cycle, None
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if self._task is not None:
            self._give_up_soon()

    def _give_up_soon(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(GRACE_S, self._give_up)

    def _give_up(self) -> None:
        if self._task is not None:
            self.client_left = True
            self._task.cancel()
