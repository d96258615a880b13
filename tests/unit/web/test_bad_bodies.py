"""Strict JSON at both edges: a body may be refused with 4xx, never answered with 500."""

import asyncio
import socket

import pytest

from uhlp.web.config import WebSettings
from uhlp.web.edge import open_edge
from web.fakes import ADMIN_TOKEN, SnapshotsOnly, application, component, listening, services

NASTY = {
    "nothing": b"",
    "spaces": b"   ",
    "nan": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "beyond a double": b'{"a": 1e9999}',
    "lone surrogate": b'{"a": "\\ud800"}',
    "lone surrogate as a key": b'{"\\udfff": 1}',
    "raw surrogate": b'{"a": "\xed\xa0\x80"}',
    "duplicate keys": b'{"a": 1, "a": 2}',
    "duplicate keys, escaped": b'{"a": 1, "\\u0061": 2}',
    "deep arrays": b"[" * 100_000,
    "deep objects": b'{"a":' * 20_000,
    "deep and closed": b"[" * 20_000 + b"]" * 20_000,
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "bad utf-8": b'{"a": "\xff"}',
    "overlong utf-8": b'{"a": "\xc0\xaf"}',
    "trailing comma": b'{"a": 1,}',
    "trailing garbage": b'{"a": 1}x',
    "two values": b'{"a": 1} {"b": 2}',
    "single quotes": b"{'a': 1}",
    "comment": b'{"a": /* b */ 1}',
    "control character": b'{"a": "\x01"}',
    "nul": b'{"a": 1}\x00',
    "leading zero": b'{"a": 01}',
    "plus sign": b'{"a": +1}',
    "hexadecimal": b'{"a": 0x1}',
    "bare minus": b'{"a": -}',
    "truncated": b'{"a": ',
    "truncated escape": b'{"a": "\\u00"}',
    "array": b"[1]",
    "string": b'"a"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
    "huge integer": b'{"a": ' + b"9" * 5_000 + b"}",
    "long name": b'{"' + b"a" * 60_000 + b'": 1}',
    "too large": b'{"a": "' + b"x" * 70_000 + b'"}',
}
ADMIN = f"Authorization: Bearer {ADMIN_TOKEN}\r\n"


@pytest.fixture
async def port():
    registry = SnapshotsOnly(
        {
            "shop": application(
                "shop", component("closed", "/closed", "POST", schema={"type": "object", "maxProperties": 0})
            )
        }
    )
    async with open_edge(services(registry=registry)) as edge, listening(edge) as port:
        yield port


async def exchange(port: int, request: bytes) -> tuple[int, bytes]:
    """Status and the rest of the answer to raw bytes; 0 when the server closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        answer = await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
    return int(answer.split(b" ", 2)[1]) if answer else 0, answer


def post(path: str, body: bytes, *, extra: str = "", content_type: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n{extra}"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        ("/apps/shop/closed", ""),
        ("/record", ""),
        ("/admin/v1/apps", ADMIN),
        ("/admin/v1/candidates/cand-1/rollback", ADMIN),
        ("/admin/v1/ledger/verify", ADMIN),
    ],
)
async def test_nasty_bodies_never_answer_500(port: int, path: str, extra: str) -> None:
    accepts_anything = path == "/admin/v1/ledger/verify"  # takes no body, so any value that is strict JSON passes
    values = {"array", "string", "number", "null", "true", "huge integer", "long name"}
    for name, body in NASTY.items():
        status, answer = await exchange(port, post(path, body, extra=extra))
        if accepts_anything and name in values | {"nothing"}:
            assert status in (200, 400), (name, answer)
        elif path == "/apps/shop/closed" and name == "nothing":
            assert status == 200
        else:
            assert status in (400, 413, 422), (name, answer[:300])
            assert b'{"error":{"code":' in answer, (name, answer[:300])


async def test_a_body_is_refused_by_its_declared_length_before_it_is_sent(port: int) -> None:
    for path in ("/apps/shop/closed", "/record"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
        status, answer = await exchange(port, head.encode())
        assert (status, b"PAYLOAD_TOO_LARGE" in answer) == (413, True)
        assert b"connection: close" in answer.lower()


async def test_a_chunked_body_is_refused_when_it_grows_too_large(port: int) -> None:
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    head = b"POST /apps/shop/closed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    status, _ = await exchange(port, head + chunk * 3)
    assert status == 413


async def test_a_body_that_does_not_arrive_is_not_waited_for(port: int) -> None:
    for path in ("/apps/shop/closed", "/record"):
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\n1"
        status, answer = await exchange(port, head.encode())
        assert (status, b"did not arrive" in answer) == (400, True)


async def test_malformed_http_is_refused_and_the_server_goes_on(port: int) -> None:
    for raw in (
        b"POST /apps/shop/closed HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"POST /record HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /apps/shop/closed HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /apps/shop/closed HTTP/1.1\r\nBad Header: x\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ):
        status, answer = await exchange(port, raw)
        assert status == 400, answer
    status, _ = await exchange(port, b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert status == 200


async def test_compressed_bodies_are_refused_by_name(port: int) -> None:
    status, answer = await exchange(port, post("/apps/shop/closed", b"\x1f\x8b", extra="Content-Encoding: gzip\r\n"))
    assert (status, b"Content-Encoding" in answer) == (400, True)


async def test_unreadable_queries_and_paths_are_refused(port: int) -> None:
    for target in ("/apps/shop/closed?a=%ff", "/apps/shop/closed?" + "&".join(f"a{n}=" for n in range(1_001))):
        status, answer = await exchange(port, post(target, b"{}"))
        assert status == 400, answer
    status, _ = await exchange(port, post("/apps/%ff/closed", b"{}"))
    assert status == 404


async def test_a_client_that_sends_all_before_it_reads_sees_why_it_was_refused(port: int) -> None:
    for path, expected in (
        ("/apps/shop/closed", 413),
        ("/record", 413),
        ("/apps/nobody/x", 404),
        ("/apps/shop/nothing", 404),
        ("/admin/v1/apps", 401),
    ):
        request = post(path, b" " * 11_000_000)
        status, answer = await asyncio.to_thread(send_all_then_read, port, request)
        assert status == expected, answer


def send_all_then_read(port: int, request: bytes) -> tuple[int, bytes]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    return int(answer.split(b" ", 2)[1]), answer


async def test_a_large_body_is_read_as_strictly_as_a_small_one() -> None:
    large = WebSettings(max_body_bytes=1_000_000)
    registry = SnapshotsOnly({"shop": application("shop", component("echo", "/echo", "POST"))})
    async with open_edge(services(registry=registry, settings=large)) as edge, listening(edge) as port:
        for text, expected in ((b"x" * 300_000, 200), (b"\\ud800" + b"x" * 300_000, 400)):
            status, answer = await exchange(port, post("/apps/shop/echo", b'{"a": "' + text + b'"}'))
            assert status == expected, answer[:300]
        status, _ = await exchange(port, post("/admin/v1/ledger/verify", b"[" * 300_000, extra=ADMIN))
        assert status == 400


async def test_a_request_that_can_be_read_in_two_ways_is_refused(port: int) -> None:
    for head in (
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /admin/v1/apps HTTP/1.1\r\nHost: x\r\n" + ADMIN.encode() + b"Authorization: Bearer other\r\n\r\n",
        b"POST /apps/shop/closed HTTP/1.1\r\nHost: x\r\nX-API-Key: a\r\nX-API-Key: b\r\n\r\n",
    ):
        status, answer = await exchange(port, head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert (status, b"BAD_REQUEST" in answer) == (400, True), answer
    status, _ = await exchange(port, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert status == 200
