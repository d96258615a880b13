"""Answers on a real connection: each ends where its head says, so that the next request on it is answered right."""

import asyncio
from typing import Any

import pytest

from uhlp.routing.request import RoutedRequest
from uhlp.web.config import WebSettings
from uhlp.web.edge import open_edge
from web.fakes import Echo, Result, SnapshotsOnly, application, component, listening, services

LIMIT = 4_096


async def respond(request: RoutedRequest) -> Result:
    status, size = int(request.path_params["status"]), int(request.path_params["size"])
    return Result({"statusCode": status, "headers": {"X-Own": "1"}, "body": "x" * size}, "httpResponse")


async def exchange(port: int, *requests: tuple[str, str]) -> bytes:
    """Everything that comes back of these (method, path) on one connection, which the server is told to close last."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number, (method, path) in enumerate(requests, 1):
        closing = "Connection: close\r\n" if number == len(requests) else ""
        writer.write(f"{method} /apps/shop/{path} HTTP/1.1\r\nHost: x\r\n{closing}\r\n".encode())
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


@pytest.fixture
async def port() -> Any:
    registry = SnapshotsOnly({"shop": application("shop", component("any", "/:status/:size", "GET", "POST"))})
    limits = WebSettings(max_answer_bytes=LIMIT)
    opened = open_edge(services(registry=registry, router=Echo(respond), settings=limits))
    async with opened as edge, listening(edge) as port:
        yield port


async def test_head_has_the_length_of_the_answer_and_not_its_body(port: int) -> None:
    got = await exchange(port, ("HEAD", "200/7"), ("GET", "200/3"))
    head, _, second = got.partition(b"\r\n\r\n")
    assert b"content-length: 7" in head.lower()
    assert second.startswith(b"HTTP/1.1 200 ")
    assert got.endswith(b"\r\n\r\nxxx")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_that_has_no_body_says_no_length(port: int, status: int) -> None:
    got = await exchange(port, ("GET", f"{status}/9"), ("GET", "200/3"))
    head, _, second = got.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-length" not in head.lower()
    assert b"transfer-encoding" not in head.lower()
    assert b"x-own: 1" in head.lower()
    assert second.startswith(b"HTTP/1.1 200 ")


async def test_a_reset_of_content_says_that_nothing_follows(port: int) -> None:
    got = await exchange(port, ("GET", "205/9"), ("GET", "200/3"))
    head, _, second = got.partition(b"\r\n\r\n")
    assert b"content-length: 0" in head.lower()
    assert second.startswith(b"HTTP/1.1 200 ")


async def test_an_answer_beyond_the_limit_is_a_bad_output_and_none_of_it_is_sent(port: int) -> None:
    got = await exchange(port, ("GET", f"200/{LIMIT}"))
    assert got.startswith(b"HTTP/1.1 200 ")
    got = await exchange(port, ("GET", f"200/{LIMIT + 1}"), ("GET", "200/3"))
    assert got.startswith(b"HTTP/1.1 502 ")
    assert b'"code":"OUTPUT_INVALID"' in got
    assert b'"limitBytes":4096' in got
    assert b"xxxx" not in got
    assert got.endswith(b"\r\n\r\nxxx")


async def test_a_url_that_is_too_long_is_refused_as_headers_are(port: int) -> None:
    got = await exchange(port, ("GET", "200/3?" + "a" * 70_000))
    assert got.startswith(b"HTTP/1.1 431 ")
