"""Clock: the only source of time for services, so that tests drive hours in milliseconds."""

import time
from typing import Protocol


class Clock(Protocol):
    """What a service may know of time."""

    def now(self) -> float:
        """Wall clock: seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; the event loop's own clock in production."""
        ...


class SystemClock:
    """The machine's clocks. A request reads them a dozen times: no function of ours stands in between."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class FakeClock:
    """A clock that stands still until `advance` is called."""

    def __init__(self, now: float = 1_750_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward by `seconds`."""
        self._now += seconds
        self._monotonic += seconds
