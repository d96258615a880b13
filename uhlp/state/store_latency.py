"""StoreLatency: how long a store's operations take, measured where they are awaited."""

from types import TracebackType

from uhlp.catalogue import server
from uhlp.clock import Clock, SystemClock
from uhlp.metering import HistogramChild, Meter, NullMeter


class StoreLatency:
    """`with latency.of("commit"):` around an operation; one that raises counts like one that does not."""

    def __init__(self, store: str, *, meter: Meter | None, clock: Clock | None = None) -> None:
        self._store = store
        self._seconds = server.STORE_SECONDS.on(meter or NullMeter())
        self._clock = clock or SystemClock()
        self._children: dict[str, HistogramChild] = {}

    def of(self, operation: str) -> "_Timing":
        child = self._children.get(operation)
        if child is None:
            child = self._children[operation] = self._seconds.labels(self._store, operation)
        return _Timing(child, self._clock)


class _Timing:
    __slots__ = ("_child", "_clock", "_started")

    def __init__(self, child: HistogramChild, clock: Clock) -> None:
        self._child = child
        self._clock = clock

    def __enter__(self) -> None:
        self._started = self._clock.monotonic()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.observe(self._clock.monotonic() - self._started)
