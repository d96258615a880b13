"""One reading for all sections of a page that are drawn at about the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from uhlp.clock import Clock

T = TypeVar("T")

FRESH_S = 0.2
"""Shorter than any section's period: what a person has just done is seen at once."""


class SharedRead(Generic[T]):
    """Asks `read` again when the last answer is older than `FRESH_S`; failures are not kept."""

    def __init__(self, read: Callable[[], Awaitable[T]], *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._reading = asyncio.Lock()
        self._last: tuple[float, T] | None = None

    async def __call__(self) -> T:
        async with self._reading:
            if self._last is None or self._clock.monotonic() - self._last[0] > FRESH_S:
                self._last = (self._clock.monotonic(), await self._read())
            return self._last[1]
