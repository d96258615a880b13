"""Reading a request's body: limited in size and in time."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from starlette.types import Receive, Send

from uhlp.errors import BadInput, PayloadTooLarge

if TYPE_CHECKING:
    from uhlp.web.exchange import Exchange

LARGE_BYTES = 256 * 1024
"""What is read beyond this is worth a thread: 10 MB of JSON take most of a second."""

_DRAIN_S = 2.0
_DRAIN_IDLE_S = 0.25
_MOST_DRAINED_BYTES = 32 * 1024 * 1024


class ClientDisconnected(Exception):
    """The client left before its request was complete; there is nobody to answer."""


async def read_body(
    receive: Receive,
    headers: Mapping[bytes, bytes],
    *,
    limit_bytes: int,
    timeout_s: float,
    exchange: "Exchange | None" = None,
) -> bytes:
    """The whole body. Raises PayloadTooLarge, before reading where Content-Length says so, BadInput when it does
    not arrive in time or is compressed, ClientDisconnected.
    """
    declared = headers.get(b"content-length")
    if declared is None and b"transfer-encoding" not in headers:
        return b""
    if declared is not None:
        if not declared.isdigit():
            raise BadInput("Content-Length is not a number.")
        if len(declared) > 15 or int(declared) > limit_bytes:
            raise _too_large(limit_bytes)
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise BadInput("Compressed bodies are not accepted here: send the body without Content-Encoding.")
    if exchange is not None and (body := exchange.take_body()) is not None:
        return _within(limit_bytes, body)
    reader, is_late = asyncio.current_task(), False

    def give_up() -> None:
        nonlocal is_late
        is_late = True
        if reader is not None:
            reader.cancel()

    timer = asyncio.get_running_loop().call_later(timeout_s, give_up)  # half the cost of asyncio.timeout
    try:
        return await _read(receive, limit_bytes)
    except asyncio.CancelledError:
        if is_late and reader is not None and reader.uncancel() == 0:
            raise BadInput(f"The body did not arrive within {timeout_s:g} s.") from None
        raise
    finally:
        timer.cancel()


def has_body(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a body comes with the request."""
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def send_early(
    send: Send, receive: Receive, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    """Send a response to a request whose body was not read. The body is then read and dropped for a moment, before the
    connection may be closed: clients that send all before they read would see a reset instead of the answer.
    """
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _drain(receive)
    await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    left = _MOST_DRAINED_BYTES
    try:
        async with asyncio.timeout(_DRAIN_S):
            while left > 0:
                message = await asyncio.wait_for(receive(), _DRAIN_IDLE_S)
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return


async def _read(receive: Receive, limit_bytes: int) -> bytes:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        return _within(limit_bytes, body)
    chunks = bytearray(body)
    while message.get("more_body", False):
        if len(chunks) > limit_bytes:
            raise _too_large(limit_bytes)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunks += message.get("body", b"")
    return _within(limit_bytes, bytes(chunks))


def _within(limit_bytes: int, body: bytes) -> bytes:
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    return body


def _too_large(limit_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is larger than {limit_bytes} bytes.", details={"limitBytes": limit_bytes})
