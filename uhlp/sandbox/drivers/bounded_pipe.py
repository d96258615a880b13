"""BoundedPipe: bytes from one task to another; the writer waits while the reader has too much before it."""

import asyncio

PIECE_BYTES = 64 * 1024


class BoundedPipe:
    """One writer, one reader. What was given before the end is read before it."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._has_ended = False
        self._changed = asyncio.Condition()

    async def give(self, data: bytes) -> None:
        """Returns when at most one piece is held, or nobody reads any more (what is given then is dropped)."""
        async with self._changed:
            if self._has_ended:
                return
            self._held += data
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._has_ended or len(self._held) <= PIECE_BYTES)

    async def take(self) -> bytes:
        """The next piece; b"" at the end."""
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self._held) or self._has_ended)
            piece = bytes(self._held[:PIECE_BYTES])
            del self._held[:PIECE_BYTES]
            self._changed.notify_all()
            return piece

    async def end(self) -> None:
        """From either side; safe to repeat."""
        async with self._changed:
            self._has_ended = True
            self._changed.notify_all()
