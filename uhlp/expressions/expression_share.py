"""ExpressionShare: how much of the process the expressions of one application may take."""

from uhlp.clock import Clock

BURST_S = 1.0
"""What an application may take at once, when it took nothing before."""


class ExpressionShare:
    """An evaluation holds the whole process, so that what one application computes all others wait for.

    Over time an application may take `share` of every second, from 0 to 1; whoever has taken more owes the time until
    that is so again. Memory only, wall clock: a clock that is set back forgives nothing and asks for nothing.
    """

    def __init__(self, *, clock: Clock, share: float = 0.25) -> None:
        self._clock = clock
        self._share = share
        self._taken: dict[str, tuple[float, float]] = {}
        """By application: the seconds that are not paid for yet, and when that was so."""

    def take(self, app_id: str, seconds: float) -> None:
        """An evaluation took so long."""
        now = self._clock.now()
        self._taken = {app: kept for app, kept in self._taken.items() if self._left(*kept, now) > 0 or app == app_id}
        self._taken[app_id] = (self._left(*self._taken.get(app_id, (0.0, now)), now) + seconds, now)

    def owed_s(self, app_id: str) -> float:
        """How long the application has to wait; 0 when it need not."""
        if app_id not in self._taken:
            return 0.0
        return max(0.0, self._left(*self._taken[app_id], self._clock.now()) - BURST_S) / self._share

    def _left(self, seconds: float, at: float, now: float) -> float:
        return max(0.0, seconds - self._share * max(0.0, now - at))
