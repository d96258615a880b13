"""The head of a request is bounded in size and in time, below the application."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from uhlp.web.exchange import EXCHANGE
from uhlp.web.http_protocol import HEAD_TIMEOUT_S, MOST_HEAD_BYTES, BoundedHttpProtocol
from web.fakes import listening

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"


async def length_of_body(scope: Any, receive: Any, send: Any) -> None:
    """Answers with how many bytes of body came."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"8")]})
    await send({"type": "http.response.body", "body": b"%08d" % length})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with listening(length_of_body) as port:
        yield port


async def exchange(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def test_headers_beyond_the_limit_are_refused_with_431_and_the_client_can_read_it(port: int) -> None:
    long = b"X-Long: " + b"a" * 1_000_000
    many = b"".join(b"X-%d: " % n + b"a" * 500 + b"\r\n" for n in range(500))
    for head in (long, long + b"\r\n\r\n", many, many + b"\r\n", b"x" * 100_000):
        answer = await exchange(port, GET, head)
        assert answer.startswith(b"HTTP/1.1 431 "), answer[:100]
        assert b'"code":"HEADERS_TOO_LARGE"' in answer
    answer = await exchange(port, b"GET /" + b"u" * 1_000_000)
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_headers_up_to_the_limit_pass_in_one_piece_and_in_many(port: int) -> None:
    head = GET + b"Connection: close\r\nX-Long: " + b"a" * (MOST_HEAD_BYTES - 200) + b"\r\n\r\n"
    for pieces in ((head,), [head[at : at + 999] for at in range(0, len(head), 999)]):
        assert (await exchange(port, *pieces)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"http://shop.example/a", b"shop.example", 200),
        (b"http://Shop.example:80/a?b", b"shop.example", 200),
        (b"/a?next=http://other.example/", b"shop.example", 200),
        (b"http://shop.example/a", b"other.example", 400),
        (b"http://other.example/panel", b"shop.example", 400),
        (b"http://shop.example:8080/a", b"shop.example", 400),
        (b"http://me@shop.example/a", b"shop.example", 400),
        (b"http://shop.example/a", b"", 400),
    ],
)
async def test_a_request_line_with_another_host_than_the_header_is_refused(
    port: int, target: bytes, host: bytes, status: int
) -> None:
    head = b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n"
    answer = await exchange(port, head)
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:300]
    assert (b"name different hosts" in answer) == (status == 400)


async def test_a_large_body_is_not_taken_for_headers_nor_is_what_follows_it(port: int) -> None:
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n"
    answer = await exchange(port, post, b"b" * 300_000 + GET, b"Connection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert b"00300000" in answer


async def test_what_is_no_http_answers_with_the_envelope(port: int) -> None:
    answer = await exchange(port, b"\x00\x01\x02\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":{"code":"BAD_REQUEST"' in answer


@pytest.mark.parametrize(
    ("refused", "status"),
    [
        (b"\0\1\r\n\r\n", 400),
        (b"GET http://other/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (GET + b"X-Long: " + b"a" * MOST_HEAD_BYTES + b"\r\n\r\n", 431),
    ],
)
async def test_a_request_is_refused_after_those_before_it_have_their_answers(
    port: int, refused: bytes, status: int
) -> None:
    answer = await exchange(port, (GET + b"\r\n") * 2 + refused)
    assert [int(one[:3]) for one in answer.split(b"HTTP/1.1 ")[1:]] == [200, 200, status]


async def test_what_answers_a_request_that_breaks_off_in_its_body_is_not_heard() -> None:
    answered: list[bool] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        answered.append(scope[EXCHANGE].answer(404, [(b"content-length", b"0")], b""))
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        answered.append((await asyncio.wait_for(receive(), 5))["type"] != "http.disconnect")

    async with listening(app) as port:
        sent = await exchange(port, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert sent.startswith(b"HTTP/1.1 400 ")
    assert sent.count(b"HTTP/1.1 ") == 1
    assert answered == [False, False]


class Timers:
    """A loop's timers, fired by hand."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.now_s = 100.0
        self.waiting: dict[asyncio.TimerHandle, float] = {}

    def call_later(self, delay: float, callback: Any, *arguments: Any) -> asyncio.TimerHandle:
        handle = self.loop.call_later(3_600, callback, *arguments)
        self.waiting[handle] = delay
        return handle

    def time(self) -> float:
        return self.now_s

    def call_soon(self, callback: Any, *arguments: Any) -> asyncio.Handle:
        return self.loop.call_soon(callback, *arguments)

    def create_task(self, work: Any) -> Any:
        return self.loop.create_task(work)

    def due(self) -> list[float]:
        return [delay for handle, delay in self.waiting.items() if not handle.cancelled()]

    def fire(self) -> None:
        for handle in [one for one in self.waiting if not one.cancelled()]:
            handle._run()
            handle.cancel()


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def write_eof(self) -> None: ...


def connection() -> tuple[BoundedHttpProtocol, Transport, Timers]:
    import uvicorn
    from uvicorn.server import ServerState

    timers, transport = Timers(), Transport()
    config = uvicorn.Config(length_of_body, log_level="error")
    protocol = BoundedHttpProtocol(config, ServerState(), {}, timers)
    protocol.connection_made(transport)
    return protocol, transport, timers


async def test_a_connection_without_a_complete_head_is_closed_when_its_time_is_up() -> None:
    for sent in ((), (b"\r\n",), (GET,), (GET, b"X-Slow: a", b"b")):
        protocol, transport, timers = connection()
        for piece in sent:
            protocol.data_received(piece)
        assert timers.due() == [HEAD_TIMEOUT_S]
        timers.fire()
        assert transport.closed


async def test_a_complete_head_stops_the_clock_and_a_second_one_starts_it_again() -> None:
    protocol, transport, timers = connection()
    protocol.data_received(GET + b"\r\n")
    assert timers.due() == []
    await asyncio.wait_for(asyncio.gather(*protocol.tasks), 30)
    assert timers.due() == [protocol.timeout_keep_alive]
    protocol.data_received(b"\r\n")
    assert timers.due() == [protocol.timeout_keep_alive, HEAD_TIMEOUT_S]
    protocol.data_received(GET + b"\r\n")
    assert timers.due() == [protocol.timeout_keep_alive]
    assert not transport.closed


async def answered(protocol: BoundedHttpProtocol) -> None:
    protocol.data_received(GET + b"\r\n")
    await asyncio.wait_for(asyncio.gather(*protocol.tasks), 30)


async def test_an_idle_connection_is_closed_so_long_after_its_last_answer() -> None:
    protocol, transport, timers = connection()
    await answered(protocol)
    timers.now_s += 0.6 * protocol.timeout_keep_alive
    await answered(protocol)
    assert timers.due() == [protocol.timeout_keep_alive]
    timers.now_s += 0.4 * protocol.timeout_keep_alive
    timers.fire()
    assert not transport.closed
    assert timers.due() == [pytest.approx(0.6 * protocol.timeout_keep_alive)]
    timers.now_s += protocol.timeout_keep_alive
    timers.fire()
    assert transport.closed


async def test_a_connection_that_is_at_work_is_not_idle_whatever_its_age() -> None:
    for begun in (GET + b"\r\n", GET):
        protocol, transport, timers = connection()
        await answered(protocol)
        protocol.data_received(begun)
        timers.now_s += 10 * protocol.timeout_keep_alive
        protocol._close_if_idle()
        assert not transport.closed
        protocol.data_received(b"" if begun.endswith(b"\r\n\r\n") else b"\r\n")
        await asyncio.wait_for(asyncio.gather(*protocol.tasks), 30)
        assert protocol.timeout_keep_alive in timers.due()


async def test_nothing_waits_for_a_connection_that_is_lost() -> None:
    protocol, _, timers = connection()
    await answered(protocol)
    protocol.connection_lost(None)
    assert timers.due() == []


@pytest.mark.parametrize("requests_before", [0, 1])
async def test_a_web_socket_may_stay_for_as_long_as_it_likes(requests_before: int) -> None:
    protocol, transport, timers = connection()
    for _ in range(requests_before):
        await answered(protocol)
    assert len(timers.due()) == 1
    protocol.data_received(
        GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert timers.due() == []
    assert not transport.closed
    work = [*protocol.tasks]
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)


async def test_what_a_proxy_forwards_is_heard_request_by_request() -> None:
    async def who(scope: Any, receive: Any, send: Any) -> None:
        body = f"{scope['scheme']} {scope['client'][0]};".encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async with listening(who) as port:
        answer = await exchange(
            port,
            GET + b"X-Forwarded-For: 203.0.113.7\r\n\r\n",
            GET + b"\r\n",
            GET + b"X-Forwarded-Proto: https\r\nConnection: close\r\n\r\n",
        )
    said = [one.rpartition(b"\r\n\r\n")[2] for one in answer.split(b";")[:-1]]
    assert said == [b"http 203.0.113.7", b"http 127.0.0.1", b"https 127.0.0.1"]
