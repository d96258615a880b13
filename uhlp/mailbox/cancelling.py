"""What being cancelled means to work that is under way."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")
_AGAIN_S = 0.05


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Do `work` even when the caller is cancelled meanwhile, as often as it may be."""
    task = asyncio.ensure_future(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    if not task.cancelled():
        task.result()


async def cancellable(work: Awaitable[T]) -> T:
    """Do `work`, and end it when the caller is cancelled.

    Before Python 3.12 `asyncio.wait_for`, in which redis-py sends, may keep a cancellation to itself; the caller would
    then wait on. Here it gets it whatever the library does, which is cancelled until it ends.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await to_its_end(_end(task))
        raise


async def _end(task: "asyncio.Future[Any]") -> None:
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_S)
    if not task.cancelled():
        task.exception()  # nobody asks for it any more
