"""HTTP/1.1 as `uhlp serve` speaks it: uvicorn's protocol, with bounds on a request's head."""

from asyncio import BaseTransport, TimerHandle, Transport
from operator import itemgetter
from typing import Any, cast

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from uhlp.errors import BadInput, HeadersTooLarge, UhlpError
from uhlp.tracing.trace_context import trace_id_of
from uhlp.web.answers import error_response
from uhlp.web.draining import draining_of
from uhlp.web.exchange import Exchange
from uhlp.web.joined_writes import JoinedWrites

MOST_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
LATE_BODY_TIMEOUT_S = 30.0
"""How long the rest of a body may take to arrive that was answered before it was read."""

LINGER_S = 2.0
MOST_SWALLOWED_BYTES = 8 * 1024 * 1024
"""What is still read, and dropped, of a request that was refused."""

STALLED_S = 2.0
"""How long the end of the server waits for a client that reads nothing of its answer."""

_BETWEEN, _HEAD, _BODY, _UPGRADED = range(4)
_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto"})
"""What uvicorn's middleware for proxies reads; it need not be asked where there is neither."""
_NAME_OF = itemgetter(0)


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses request line and headers beyond `MOST_HEAD_BYTES` with 431, and closes connections on which they are not
    complete in `HEAD_TIMEOUT_S`. A request that arrives whole costs no timer.

    uvicorn bounds neither, and the parser joins the pieces of a long header in quadratic time.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._behind_no_proxy = self.app.app if isinstance(self.app, ProxyHeadersMiddleware) else self.app
        self._part = _BETWEEN
        self._head_bytes = 0  # of the pieces before this one
        self._piece = 0  # bytes of this piece
        self._begun = 0  # messages that began in this piece
        self._swallowed = 0
        self._timer: TimerHandle | None = None
        self._idle_timer: TimerHandle | None = None
        self._idle_since_s = 0.0
        self._refusal: UhlpError | None = None
        self._fault: UhlpError | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        joined = JoinedWrites(cast(Transport, transport), self.loop)
        super().connection_made(joined)
        self._exchange = Exchange(joined, self.loop)
        self._timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_idle_timer()
        super().connection_lost(exc)
        self._exchange.end()

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            self._swallow(len(data))
            return
        before, self._piece, self._begun = self._part, len(data), 0
        super().data_received(data)
        if self._part == _HEAD:
            if not self._begun:
                self._head_bytes += self._piece
            elif before == _BETWEEN and self._begun == 1:
                self._head_bytes = self._piece
            if self._head_bytes > MOST_HEAD_BYTES and self._refusal is None:
                self._refuse(_too_large())
        if self._timer is None and self._is_waiting():
            wait_s = LATE_BODY_TIMEOUT_S if self._part == _BODY else HEAD_TIMEOUT_S
            self._timer = self.loop.call_later(wait_s, self._close)

    def on_message_begin(self) -> None:
        self._part = _HEAD
        self._begun += 1
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._head_bytes + self._piece > MOST_HEAD_BYTES:
            head = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if head > MOST_HEAD_BYTES:
                raise _too_large()  # the parser stops, and the answer is send_400_response
        self._fault = _fault_of_target(self.url, self.headers)
        if self._fault is not None:
            raise self._fault
        if self._timer is not None:
            self._stop_timer()
        super().on_headers_complete()
        self._part = _BODY

    def on_message_complete(self) -> None:
        self._part = _BETWEEN
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """uvicorn's, without a timer that is set at every answer and cancelled at every request."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
            return
        self._idle_since_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._idle_timer = None
        if self._part == _HEAD or not self.cycle.response_complete:
            return  # the next answer sets it again
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._close_if_idle)
        else:
            self.timeout_keep_alive_handler()

    def _stop_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._exchange.begin(cycle)
        if app is self.app and _FORWARDED.isdisjoint(map(_NAME_OF, cycle.scope["headers"])):
            app = self._behind_no_proxy
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        """The next protocol gets the connection as it came, and all time there is."""
        self._part = _UPGRADED
        self._stop_timer()
        self._stop_idle_timer()
        if isinstance(self.transport, JoinedWrites):
            self.transport.flush()
            self.transport = self.transport.transport
        super().handle_websocket_upgrade()

    def shutdown(self) -> None:
        """The server drains: streams are told to end, and who has stopped reading does not hold it up."""
        if (draining := draining_of(self.app_state)) is not None:
            draining.set()
        super().shutdown()
        self._watch_for_a_stall()

    def _watch_for_a_stall(self) -> None:
        """Look again in a while, as long as something may be unread by then: an answer that has not ended counts."""
        if self.transport is None or (self.transport.is_closing() and not self.transport.get_write_buffer_size()):
            return
        unread = self.transport.get_write_buffer_size()
        if unread or (self.cycle is not None and not self.cycle.response_complete):
            self.loop.call_later(STALLED_S, self._abort_if_stalled, unread)

    def _abort_if_stalled(self, unread: int) -> None:
        if unread and self.transport is not None and self.transport.get_write_buffer_size() >= unread:
            self.transport.abort()
        else:
            self._watch_for_a_stall()

    def send_400_response(self, msg: str) -> None:
        """uvicorn's answer to what the parser refuses, as the envelope."""
        self._refuse(self._fault or (_too_large() if self._is_head_too_large() else BadInput(msg)))

    def _is_head_too_large(self) -> bool:
        if self._part != _HEAD:
            return False
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MOST_HEAD_BYTES

    def _is_waiting(self) -> bool:
        """Whether nothing is being answered: only the client can go on."""
        if self._part == _UPGRADED:
            return False
        return self._part == _HEAD or self.cycle is None or self.cycle.response_complete

    def _refuse(self, error: UhlpError) -> None:
        """Hear no more, and answer when all that came before has its answer: the client counts them."""
        self._refusal = error
        self._stop_timer()
        is_at_work = self._part == _BODY and not self.pipeline
        if is_at_work:
            self._exchange.end()
        elif self._part == _BODY:
            self.pipeline.popleft()
        if is_at_work or self.cycle is None or self.cycle.response_complete:
            self._send_refusal(error)

    def _send_refusal(self, error: UhlpError) -> None:
        """Answer, then close when the client has read it: closing over unread data would reset the connection."""
        status, headers, body = error_response(error, trace_id_of(None))
        lines = [name + b": " + value + b"\r\n" for name, value in headers if name != b"connection"]
        self.transport.write(b"".join([STATUS_LINE[status], *lines, b"connection: close\r\n\r\n", body]))
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self._close)

    def _swallow(self, length: int) -> None:
        self._swallowed += length
        if self._swallowed > MOST_SWALLOWED_BYTES:
            self._close()

    def _close(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"Request line and headers are larger than {MOST_HEAD_BYTES} bytes.")


def _fault_of_target(target: bytes, headers: list[tuple[bytes, bytes]]) -> UhlpError | None:
    """Why a request line that brings a host (`GET http://host/path`) is refused: RFC 9112 lets that one count, and this
    server, as many proxies, reads the header. Where both are there they are the same."""
    _, mark, rest = target.partition(b"://")
    if not mark or target.startswith(b"/"):
        return None
    named = rest.partition(b"/")[0].partition(b"?")[0].lower().removesuffix(b":80")
    host = next((value for name, value in headers if name == b"host"), b"").lower().removesuffix(b":80")
    return None if named == host else BadInput("The request line and the Host header name different hosts.")
