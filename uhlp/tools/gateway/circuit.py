"""Circuit: whether a server is worth asking, after it was found away."""

from uhlp.backoff import backoff_s
from uhlp.clock import Clock
from uhlp.tools.gateway.config import McpSettings


class Circuit:
    """Closed while a server is there. Each failure opens it for twice as long as the one before; a success in use, not
    only a session that could be opened, starts again from the beginning."""

    def __init__(self, *, settings: McpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0
        self.reason: str | None = None
        """Why it is open; None when it is closed."""

        self.since: float | None = None
        """Wall clock: when it was opened."""

    @property
    def is_open(self) -> bool:
        return self.reason is not None

    @property
    def is_due(self) -> bool:
        """Open, and time to try again."""
        return self.is_open and self._clock.monotonic() >= self._retry_at

    @property
    def retry_after_s(self) -> float:
        """When to ask again; never at once, because somebody must try first."""
        return max(1.0, self._retry_at - self._clock.monotonic())

    def fail(self, reason: str) -> None:
        first_s, longest_s = self._settings.backoff_initial_s, self._settings.backoff_max_s
        self._failures += 1
        pause_s = backoff_s(self._failures, first_s=first_s, longest_s=longest_s)
        self._retry_at = self._clock.monotonic() + pause_s
        self.since = self.since if self.is_open else self._clock.now()
        self.reason = reason

    def close(self) -> None:
        """There is a session again; what it is good for will be seen."""
        self.reason = self.since = None

    def succeed(self) -> None:
        """A call was answered."""
        self.close()
        self._failures = 0
