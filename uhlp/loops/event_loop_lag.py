"""EventLoopLag: how late the event loop does what is due."""

from uhlp.catalogue import server
from uhlp.clock import Clock
from uhlp.metering import Meter


class EventLoopLag:
    """A loop of its own calls `run_cycle` every `every_s` seconds; what it is called later than that is the lag."""

    def __init__(self, *, clock: Clock, meter: Meter, every_s: float = 0.25) -> None:
        self.every_s = every_s
        self._clock = clock
        self._lag = server.EVENT_LOOP_LAG.on(meter).labels()
        self._due: float | None = None

    async def run_cycle(self) -> None:
        now = self._clock.monotonic()
        if self._due is not None:
            self._lag.observe(max(0.0, now - self._due))
        self._due = now + self.every_s
