"""BoundedStream: server-sent events of an MCP server, each of them whole and within bounds before the SDK sees it."""

import asyncio
import re
from collections.abc import AsyncIterator

import httpx2

from uhlp.tools.gateway.message_bounds import beyond_bounds
from uhlp.tools.gateway.outgoing import Outgoing

_STREAM_MESSAGES = 16
"""A stream of one answer may bring this many of the largest messages before the last one."""

_ENDS = re.compile(rb"\n\n|\r\n\r\n|\r\r")
"""Where an event is over. What mixes its line ends is held back as one event, until it is too large."""

_LONGEST_END = 4
_DATA = b"data:"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class BoundedStream(httpx2.AsyncByteStream):
    """Ends with its time, when it has brought too much, and at an event that may not be read; `outgoing` is told why.

    `most_bytes` bounds one event.
    """

    def __init__(
        self, inner: httpx2.AsyncByteStream, outgoing: Outgoing, *, most_bytes: int, ends_at: float | None
    ) -> None:
        self._inner = inner
        self._outgoing = outgoing
        self._most_bytes = most_bytes
        self._left_bytes = most_bytes * _STREAM_MESSAGES
        self._ends_at = ends_at

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        rest = bytearray()
        while True:
            async with asyncio.timeout_at(self._ends_at):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            self._left_bytes -= len(chunk)
            if self._left_bytes < 0:
                raise httpx2.ReadError("the stream brings more than it may")
            searched = max(0, len(rest) - _LONGEST_END)
            rest += chunk
            over = max((end.end() for end in _ENDS.finditer(rest, searched)), default=0)
            self._check(bytes(rest[:over]))
            if len(rest) - over > self._most_bytes:
                raise httpx2.ReadError("an event is larger than it may be")
            if over:
                yield bytes(rest[:over])
                del rest[:over]

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _check(self, events: bytes) -> None:
        for event in _ENDS.split(events):
            if event and (fault := beyond_bounds(_data_of(event))):
                self._outgoing.unreadable = fault
                raise httpx2.ReadError("an event is not read")


def _data_of(event: bytes) -> bytes:
    lines = (line.removeprefix(_BYTE_ORDER_MARK) for line in event.splitlines())
    return b"\n".join(line.removeprefix(_DATA) for line in lines if line.startswith(_DATA))
