"""Reconnecting: when a server that does not answer is asked again."""

from uhlp.clock import Clock

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class Reconnecting:
    """After a failure nobody asks for a moment, which doubles with each further one; one success ends it."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._pause_s = 0.0
        self._next_at = 0.0
        self._is_trying = False
        self.reason = ""

    def may_try(self) -> bool:
        """Whether this call may ask the server. After a pause one may, and others again a pause later."""
        if not self._pause_s:
            return True
        now = self._clock.monotonic()
        if now < self._next_at:
            return False
        self._next_at = now + self._pause_s
        self._is_trying = True
        return True

    def failed(self, reason: str) -> None:
        """The server did not answer. Calls that were on their way when it went count as one."""
        if self._is_trying or not self._pause_s:
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2 or _FIRST_PAUSE_S)
            self._next_at = self._clock.monotonic() + self._pause_s
        self._is_trying = False
        self.reason = reason

    def succeeded(self) -> None:
        """The server answers."""
        self._pause_s = 0.0
        self._is_trying = False
