"""LoopGroup: starts loops together, wakes them by name, and stops them within one deadline."""

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol, Self

import structlog

from uhlp.loops.periodic_loop import LoopStatus, PeriodicLoop

CANCEL_WITHIN_S = 1.0
"""How long a cancelled cycle may clean up."""

log = structlog.get_logger(__name__)


class Looping(Protocol):
    """What brings its own loops: a worker of a mailbox."""

    def loops(self) -> Sequence[PeriodicLoop]: ...


class LoopGroup:
    """`async with LoopGroup(loops):` runs the loops beside the body and stops them after it.

    They run in one root task with a TaskGroup inside: a TaskGroup held by the body itself would cancel the body, that
    is the server, when a loop fails.
    """

    def __init__(self, loops: Iterable[PeriodicLoop | Looping], *, stop_within_s: float = 10.0) -> None:
        self._loops: dict[str, PeriodicLoop] = {}
        for one in loops:
            for loop in [one] if isinstance(one, PeriodicLoop) else one.loops():
                if loop.name in self._loops:
                    raise ValueError(f"two loops of one group have the name {loop.name}")
                self._loops[loop.name] = loop
        self._stop_within_s = stop_within_s
        self._root: asyncio.Task[None] | None = None
        self._is_asked_to_end = asyncio.Event()
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Run the loops until `shutdown` (seed 004)."""
        try:
            async with self:
                await self._is_asked_to_end.wait()
        finally:
            self._ended.set()

    async def shutdown(self, *, timeout: float = 30.0) -> bool:  # noqa: ASYNC109  the seed's name
        """End `run`; False when its loops take longer than `timeout` seconds."""
        self._is_asked_to_end.set()
        try:
            async with asyncio.timeout(timeout):
                await self._ended.wait()
        except TimeoutError:
            return False
        return True

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
