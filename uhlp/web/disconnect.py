"""Notices a client that leaves while its request is being worked on, and cancels the work."""

import asyncio

from starlette.types import Receive

WATCH_AFTER_S = 0.05
"""Answers that take less are not watched: a task per request would cost more than the work it could save."""


class DisconnectWatch:
    """Cancels `task` when the client leaves; `client_left` then says so. Call `stop` when the work is done."""

    __slots__ = ("_loop", "_receive", "_task", "_timer", "_watcher", "client_left")

    def __init__(self, receive: Receive, task: "asyncio.Task[object]", loop: asyncio.AbstractEventLoop) -> None:
        self.client_left = False
        self._receive = receive
        self._task = task
        self._loop = loop
        self._watcher: asyncio.Task[None] | None = None
        self._timer = loop.call_later(WATCH_AFTER_S, self._start)

    def _start(self) -> None:
        self._watcher = self._loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        self._task.cancel()

    def stop(self) -> None:
        """End the watch; safe after the client has left."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
