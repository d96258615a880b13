"""Bodies that come compressed: inflated within a limit."""

import asyncio
import zlib

from uhlp.errors import BadInput, PayloadTooLarge
from uhlp.web.body import LARGE_BYTES

_CHUNK_BYTES = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS
_MOST_MEMBERS = 16
"""Of one file; what follows a member is copied each time, and a member may be 20 bytes."""


async def inflated(body: bytes, encoding: bytes, *, limit_bytes: int) -> bytes:
    """The body as `Content-Encoding` says it was: gzip or identity. Raises BadInput, PayloadTooLarge.

    A small body may hold a thousand times its size: what does not stay small is inflated in a thread.
    """
    encoding = encoding.strip().lower()
    if encoding in (b"", b"identity"):
        return body
    if encoding not in (b"gzip", b"x-gzip"):
        raise BadInput("The body's Content-Encoding is neither gzip nor identity.")
    if len(body) <= _CHUNK_BYTES:
        try:
            return gunzip(body, limit_bytes=min(limit_bytes, LARGE_BYTES))
        except PayloadTooLarge:
            if limit_bytes <= LARGE_BYTES:
                raise
    return await asyncio.to_thread(gunzip, body, limit_bytes=limit_bytes)


def gunzip(body: bytes, *, limit_bytes: int) -> bytes:
    """All members of a gzip file; never holds more than a chunk beyond the limit. Raises BadInput, PayloadTooLarge."""
    out, rest, members = bytearray(), body, 0
    try:
        while rest:
            members += 1
            if members > _MOST_MEMBERS:
                raise BadInput(f"The gzip body has more than {_MOST_MEMBERS} members.")
            member = zlib.decompressobj(_GZIP)
            while not member.eof:
                chunk = member.decompress(rest, _CHUNK_BYTES)
                rest = member.unconsumed_tail
                out += chunk
                if len(out) > limit_bytes:
                    raise PayloadTooLarge(
                        f"The body is larger than {limit_bytes} bytes once it is inflated.",
                        details={"limitBytes": limit_bytes},
                    )
                if not chunk and not rest and not member.eof:
                    raise BadInput("The gzip body ends too early.")
            rest = member.unused_data
    except zlib.error as error:
        raise BadInput(f"The body is no gzip: {error}.") from None
    return bytes(out)
