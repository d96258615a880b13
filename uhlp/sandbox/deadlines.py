"""Deadlines: ends the calls of one worker that are not answered in time, with one timer for all of them."""

import asyncio
from math import inf
from typing import Any

from uhlp.errors import DeadlineExceeded


class Deadlines:
    """Answers come long before their deadline. One timer that is left to ring, and looks then, costs a call next to
    nothing; one that is set and cancelled for each would cost it a fiftieth of its time.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due_s: dict[asyncio.Future[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._rings_s = inf

    def watch(self, future: "asyncio.Future[Any]", deadline_s: float) -> None:
        """Let the future fail with DeadlineExceeded at `deadline_s` of the loop's time; `forget` it when it is done."""
        self._due_s[future] = deadline_s
        if deadline_s < self._rings_s:
            self._set(deadline_s)

    def forget(self, future: "asyncio.Future[Any]") -> None:
        """Nobody waits for it any more."""
        self._due_s.pop(future, None)

    def close(self) -> None:
        """Nothing will be watched any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _set(self, rings_s: float) -> None:
        self.close()
        self._rings_s = rings_s
        self._timer = self._loop.call_at(rings_s, self._ring)

    def _ring(self) -> None:
        self._rings_s = inf
        now_s = self._loop.time()
        for future in [each for each, due_s in self._due_s.items() if due_s <= now_s]:
            self.forget(future)
            if not future.done():
                future.set_exception(DeadlineExceeded())
        if self._due_s:
            self._set(min(self._due_s.values()))
