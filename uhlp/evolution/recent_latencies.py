"""RecentLatencies: the newest latencies of a handler, with their median and 99th percentile at hand at any time."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator


class RecentLatencies:
    """Milliseconds, rounded to microseconds, oldest first. Reading a quantile costs nothing, adding one next to that:
    they are read with every comparison.
    """

    def __init__(self, values_ms: Iterable[float] = (), *, kept: int = 500) -> None:
        self._kept = kept
        self._values: deque[float] = deque()
        self._sorted: list[float] = []
        for value in values_ms:
            self.append(value)

    def append(self, value_ms: float) -> None:
        """Add one; the oldest goes when there are too many."""
        if len(self._values) == self._kept:
            oldest = self._values.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]
        value_ms = round(value_ms, 3)
        self._values.append(value_ms)
        insort(self._sorted, value_ms)

    @property
    def p50_ms(self) -> float | None:
        """The median; None without a value."""
        return self._quantile(0.5)

    @property
    def p99_ms(self) -> float | None:
        """The 99th percentile; None without a value."""
        return self._quantile(0.99)

    def _quantile(self, share: float) -> float | None:
        """Between the two nearest values, in proportion (as `statistics.quantiles(…, method="inclusive")` does)."""
        if not self._sorted:
            return None
        place = share * (len(self._sorted) - 1)
        low = int(place)
        high = min(low + 1, len(self._sorted) - 1)
        return self._sorted[low] + (place - low) * (self._sorted[high] - self._sorted[low])

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[float]:
        return iter(self._values)
