"""What is read of a message before the SDK reads it."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx2
import pytest

from uhlp.tools.gateway.bounded_stream import BoundedStream
from uhlp.tools.gateway.message_bounds import MOST_ENTRIES, MOST_VALUES, beyond_bounds
from uhlp.tools.gateway.outgoing import Outgoing


def message(**result: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}).encode()


BLOCKS = message(content=[{"type": "hologram"}] * (MOST_ENTRIES + 1))
ROWS = message(content=[], structuredContent={"rows": [{"a": 1, "b": "x, [y]"}] * 5_000})


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (BLOCKS, "entries of content"),
        (message(tools=[{"name": "t"}] * (MOST_ENTRIES + 1)), "entries of tools"),
        (message(content=[], structuredContent={"a": [[]] * MOST_VALUES}), "values"),
        (BLOCKS[:-2] + b', "content": []}}', "not strict JSON"),
        (BLOCKS[:-2] + b', "a": NaN}}', "not strict JSON"),
        (b"{" * 5_000, "not strict JSON"),
    ],
)
def test_what_would_take_long_to_read_is_not_read(raw: bytes, reason: str):
    assert reason in str(beyond_bounds(raw))


@pytest.mark.parametrize("raw", [ROWS, message(content=[{"type": "text", "text": "{[," * 300_000}]), b"{]", b""])
def test_large_tables_and_texts_are_read_and_short_garbage_is_left_to_the_sdk(raw: bytes):
    assert beyond_bounds(raw) is None


class _Pieces(httpx2.AsyncByteStream):
    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece

    async def aclose(self) -> None:
        pass


def bounded(*pieces: bytes, most_bytes: int = 1_000_000) -> tuple[BoundedStream, Outgoing]:
    outgoing = Outgoing(ends_at=None)
    return BoundedStream(_Pieces(*pieces), outgoing, most_bytes=most_bytes, ends_at=None), outgoing


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_events_pass_whole_however_they_arrive(end: bytes):
    events = b"".join(b"event: message" + end + b"data: " + ROWS + end + end for _ in range(3))
    stream, _ = bounded(*(events[at : at + 1_000] for at in range(0, len(events), 1_000)))
    assert b"".join([piece async for piece in stream]) == events


@pytest.mark.parametrize("beginning", [b"", b"\xef\xbb\xbf", b": hello\n"])
async def test_an_event_that_holds_too_much_ends_the_stream_with_the_reason(beginning: bytes):
    half = len(BLOCKS) // 2
    stream, outgoing = bounded(beginning + b"data: " + BLOCKS[:half], BLOCKS[half:] + b"\n\n")
    with pytest.raises(httpx2.ReadError):
        await anext(aiter(stream))
    assert "entries of content" in str(outgoing.unreadable)


@pytest.mark.parametrize("end", [b"\n\r\n", b""])
async def test_an_event_that_does_not_end_is_not_kept_for_ever(end: bytes):
    stream, _ = bounded(*[b"data: x" + end] * 100, most_bytes=500)
    with pytest.raises(httpx2.ReadError, match="larger"):
        async with asyncio.timeout(30):
            await anext(aiter(stream))
