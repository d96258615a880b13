"""Timers: what is to happen at which moment. A cycle fires what is due; nothing sleeps here."""

import heapq
from collections.abc import Callable
from itertools import count

from uhlp.clock import Clock

Action = Callable[[], None]

_FEWEST_SWEPT = 64


class Timer:
    """One thing to be done at `due`, seconds since the epoch."""

    __slots__ = ("_action", "due")

    def __init__(self, due: float, action: Action) -> None:
        self.due = due
        self._action: Action | None = action

    @property
    def is_over(self) -> bool:
        return self._action is None

    def cancel(self) -> None:
        self._action = None

    def fire(self) -> None:
        """Do it; what raises has not been done, and may be fired again."""
        if self._action is not None:
            self._action()
            self._action = None


class Timers:
    """Wall clock, because a wait outlives the process. `on_earlier` is told when the next one comes sooner."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._sweep_at = _FEWEST_SWEPT
        self._on_earlier: Action = lambda: None

    def __len__(self) -> int:
        """How many are kept, cancelled ones among them until they are swept."""
        return len(self._heap)

    def on_earlier(self, listener: Action) -> None:
        self._on_earlier = listener

    def at(self, due: float, action: Action) -> Timer:
        """Do `action` at `due`, or soon after when that is over already."""
        timer = Timer(due, action)
        if len(self._heap) >= self._sweep_at:
            self._sweep()
        is_next = not self._heap or due < self._heap[0][0]
        heapq.heappush(self._heap, (due, next(self._numbers), timer))
        if is_next:
            self._on_earlier()
        return timer

    def until_next_s(self, at_most: float) -> float:
        """Seconds until something is due, none when it is; `at_most` when nothing is sooner."""
        while self._heap and self._heap[0][2].is_over:
            heapq.heappop(self._heap)
        return at_most if not self._heap else min(at_most, max(0.0, self._heap[0][0] - self._clock.now()))

    def fire_due(self) -> None:
        """Do everything that is due now. What raises is due still, and so is all that comes after it."""
        now = self._clock.now()
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            try:
                entry[2].fire()
            except BaseException:
                heapq.heappush(self._heap, entry)
                raise

    def _sweep(self) -> None:
        """Forget what was cancelled: most are long before they are due, the ends of runs by 30 days."""
        self._heap = [entry for entry in self._heap if not entry[2].is_over]
        heapq.heapify(self._heap)
        self._sweep_at = max(_FEWEST_SWEPT, 2 * len(self._heap))
