"""A request and its answer as a connection has them at hand: what `receive` and `send` do, in one step."""

import asyncio
from typing import Any

import pytest

from uhlp.web.exchange import EXCHANGE, Exchange
from web.fakes import listening

POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"


class Echo:
    """Sends the body back, through the exchange where that does it; `by` says what took the body and what sent it."""

    def __init__(self, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.status = status
        self.headers = headers
        self.by: list[tuple[str, str]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope[EXCHANGE]
        taken = exchange.take_body()
        body = taken if taken is not None else (await receive())["body"]
        body = b"" if self.status == 204 else body
        headers = [*self.headers, *([] if self.status == 204 else [(b"content-length", b"%d" % len(body))])]
        is_sent = exchange.answer(self.status, headers, body)
        if not is_sent:
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        self.by.append(("receive" if taken is None else "exchange", "exchange" if is_sent else "send"))


async def answers(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()


async def test_requests_of_one_connection_have_it_in_turn() -> None:
    echo = Echo(headers=((b"x-own", b"1"),))
    async with listening(echo) as port:
        sent = await answers(port, POST + b"\r\nfirst" + POST + b"\r\nother" + POST + b"Connection: close\r\n\r\nthird")
    first, other, third = sent.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert [one.rpartition(b"\r\n\r\n")[2] for one in (first, other, third)] == [b"first", b"other", b"third"]
    assert b"x-own: 1\r\n" in first
    assert b"date: " in first
    assert echo.by == [("exchange", "exchange"), ("exchange", "exchange"), ("exchange", "send")]


@pytest.mark.parametrize(
    ("status", "headers", "head"),
    [
        (200, (), b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"),
        (204, (), POST + b"\r\nfirst"),
        (413, ((b"connection", b"close"),), POST + b"\r\nfirst"),
    ],
)
async def test_what_is_no_plain_answer_is_left_to_send(
    status: int, headers: tuple[tuple[bytes, bytes], ...], head: bytes
) -> None:
    echo = Echo(status, headers)
    async with listening(echo) as port:
        sent = await answers(port, head, b"" if headers else b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert sent.startswith(b"HTTP/1.1 %d " % status)
    assert echo.by[0][1] == "send"


async def test_a_body_that_has_not_arrived_is_left_to_receive() -> None:
    taken: list[bytes | None] = []
    asked = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        taken.append(scope[EXCHANGE].take_body())
        asked.set()
        body = b""
        while (message := await receive())["more_body"]:
            body += message["body"]
        body += message["body"]
        assert scope[EXCHANGE].answer(200, [(b"content-length", b"%d" % len(body))], body)

    async with listening(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"\r\nfir")
        await asyncio.wait_for(asked.wait(), 30)
        writer.write(b"st")
        assert (await asyncio.wait_for(reader.readuntil(b"first"), 30)).startswith(b"HTTP/1.1 200 ")
        writer.close()
    assert taken == [None]


@pytest.mark.parametrize("header", [(b"x-own", b"1\r\nset-cookie: a=b"), (b"x-own: 1\r\nx", b"1"), (b"x-own", b"a\0b")])
async def test_no_header_breaks_out_of_the_answer(header: tuple[bytes, bytes]) -> None:
    async with listening(Echo(headers=(header,)), log_config=None) as port:
        sent = await answers(port, POST + b"Connection: keep-alive\r\n\r\nfirst")
    assert sent.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in sent


async def test_a_client_that_left_is_noticed_whenever_it_leaves() -> None:
    began, told = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope[EXCHANGE]
        exchange.take_body()
        began.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        task = asyncio.current_task()
        assert task is not None
        exchange.watch(task)  # after it has left
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert exchange.client_left
            assert not exchange.answer(200, [(b"content-length", b"0")], b"")
            told.set()

    async with listening(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"\r\nfirst")
        await asyncio.wait_for(began.wait(), 30)
        writer.close()
        await asyncio.wait_for(told.wait(), 30)


async def test_work_that_ends_soon_after_its_client_left_is_not_cancelled() -> None:
    began, done = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        exchange: Exchange = scope[EXCHANGE]
        exchange.take_body()
        task = asyncio.current_task()
        assert task is not None
        exchange.watch(task)
        began.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        exchange.stop()
        assert not exchange.client_left
        done.set()

    async with listening(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b"\r\nfirst")
        await asyncio.wait_for(began.wait(), 30)
        writer.close()
        await asyncio.wait_for(done.wait(), 30)


async def test_a_client_that_left_is_noticed_while_another_request_of_it_waits() -> None:
    began, told = asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        scope[EXCHANGE].watch(task)
        began.set()
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 5)
        except asyncio.CancelledError:
            task.uncancel()
        assert scope[EXCHANGE].client_left
        assert (await asyncio.wait_for(receive(), 5))["type"] == "http.disconnect"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})
        told.set()

    async with listening(app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        await asyncio.wait_for(began.wait(), 30)
        writer.close()
        await asyncio.wait_for(told.wait(), 10)
