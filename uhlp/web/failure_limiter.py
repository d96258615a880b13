"""Slows down callers who keep presenting credentials that are not valid."""

from uhlp.clock import Clock
from uhlp.errors import TooManyRequests

MOST_CLIENTS = 10_000
WINDOW_S = 60.0


class FailureLimiter:
    """Counts failures per client address in windows of a minute; memory is bounded by forgetting the oldest client.

    Only callers without valid credentials are ever asked: a flood of bad keys does not lock out good ones.
    """

    def __init__(self, *, clock: Clock, failures_per_minute: int) -> None:
        self._clock = clock
        self._allowed = failures_per_minute
        self._failures: dict[str, tuple[float, int]] = {}  # client -> (window's start, failures in it)

    def check(self, client: str) -> None:
        """Raises TooManyRequests (with the seconds to wait) when this client has failed too often."""
        started, count = self._failures.get(client, (0.0, 0))
        left_s = started + WINDOW_S - self._clock.monotonic()
        if count >= self._allowed and left_s > 0:
            raise TooManyRequests("Too many attempts with credentials that are not valid.", retry_after_s=left_s)

    def failed(self, client: str) -> None:
        """Record one failure."""
        now = self._clock.monotonic()
        started, count = self._failures.pop(client, (now, 0))
        if now - started >= WINDOW_S:
            started, count = now, 0
        self._failures[client] = (started, count + 1)
        if len(self._failures) > MOST_CLIENTS:
            del self._failures[next(iter(self._failures))]
