"""LoopGroup: starts loops together, wakes them by name, and stops them within one deadline."""

import asyncio
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import structlog

from uhlp.loops.periodic_loop import LoopStatus, PeriodicLoop

CANCEL_WITHIN_S = 1.0
"""How long a cancelled cycle may clean up."""

log = structlog.get_logger(__name__)


class LoopGroup:
    """`async with LoopGroup(loops):` runs the loops beside the body and stops them after it.

    They run in one root task with a TaskGroup inside: a TaskGroup held by the body itself would cancel the body, that
    is the server, when a loop fails.
    """

    def __init__(self, loops: Iterable[PeriodicLoop], *, stop_within_s: float = 10.0) -> None:
        self._loops = {loop.name: loop for loop in loops}
        self._stop_within_s = stop_within_s
        self._root: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._root = asyncio.create_task(self._run(), name="loop-group")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Signal all loops, then wait for all; cycles still running after `stop_within_s` seconds are cancelled."""
        if self._root is None:
            return
        for loop in self._loops.values():
            loop.stop()
        await asyncio.wait({self._root}, timeout=self._stop_within_s)
        if not self._root.done():
            late = [status.name for status in self.status() if status.is_running]
            log.warning("loops_cancelled", loops=late, stop_within_s=self._stop_within_s)
            self._root.cancel()
            await asyncio.wait({self._root}, timeout=CANCEL_WITHIN_S)
        self._root = None

    def wake(self, name: str) -> None:
        """Run a cycle of the named loop at once. Raises KeyError for a name that is not there."""
        self._loops[name].wake()

    def status(self) -> tuple[LoopStatus, ...]:
        """Every loop's state, for /readyz."""
        return tuple(loop.status() for loop in self._loops.values())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, loop in self._loops.items():
                group.create_task(loop.run(), name=f"loop-{name}")
