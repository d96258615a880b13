"""CircuitBreaker: stops asking a provider that keeps failing, and tries again with one call."""

from uhlp.clock import Clock
from uhlp.llm.instruments import BreakerInstruments


class CircuitBreaker:
    """Opens after `failures_to_open` failures in a row; after `open_s` one attempt decides whether it closes."""

    def __init__(
        self, *, clock: Clock, instruments: BreakerInstruments, failures_to_open: int = 5, open_s: float = 10.0
    ) -> None:
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._open_s = open_s
        self._instruments = instruments
        self._failures = 0
        self._opened_at: float | None = None
        self._is_probing = False

    def admit(self) -> float:
        """0 when an attempt may start, which must then end in `succeeded`, `failed` or `abandoned`; else how many
        seconds to wait."""
        if self._opened_at is None:
            return 0.0
        remaining = self._opened_at + self._open_s - self._clock.monotonic()
        if remaining > 0:
            return remaining
        if self._is_probing:
            return 1.0
        self._is_probing = True
        return 0.0

    def succeeded(self) -> None:
        """The provider answered."""
        if self._opened_at is not None:
            self._instruments.closed()
        self._failures, self._opened_at, self._is_probing = 0, None, False

    def failed(self) -> bool:
        """The provider did not answer, or nothing that can be read. True when this opened the breaker."""
        self._failures += 1
        opens = self._is_probing or (self._opened_at is None and self._failures >= self._failures_to_open)
        if opens:
            self._opened_at = self._clock.monotonic()
            self._instruments.opened()
        self._is_probing = False
        return opens

    def abandoned(self) -> None:
        """The caller went away before anything could be learnt."""
        self._is_probing = False
