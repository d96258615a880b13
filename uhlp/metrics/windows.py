"""Windows: what each component did of late, as rules, tables and the REST interface ask for it (contracts §2, §7).

Executions are summed in slots: of 10 s for an hour, of 5 min for 48 h, of 1 h for 35 days. A window is read in whole
slots, the finest that reach so far: the one in progress and those before it, so it goes back by up to one slot less
than asked. Within that, every sum is exact and quantiles err by at most 1 %.

Time here follows the machine's clock forward (it slept, it was set) and never backward while the server runs: a clock
that is set back would have old executions counted as new.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import ceil, log

import structlog

from uhlp.clock import Clock
from uhlp.metrics.quantile_sketch import MAX_VALUE, MIN_VALUE, PER_LOG
from uhlp.metrics.slot import Slot
from uhlp.metrics.window import Window
from uhlp.metrics.window_history import FINE, SCALES, Scale, WindowHistory

SHORTEST_WINDOW_S = 30
LONGEST_WINDOW_S = SCALES[-1].reach_s
HANDLERS = ("llm", "jit", "workflow")
MOST_SERIES = 30_000

log_event = structlog.get_logger(__name__)

Series = tuple[str, str, str]
"""Application, component and handler (llm, jit, workflow)."""


class Windows:
    """Sliding windows per application, component and handler. One instance a server; used on the event loop.

    After 35 days a series takes 0.3 MB at a call a minute, 1.6 MB at ten a second, and never more than 15 MB (every
    latency in every slot); there are at most `most_series` of them. `dropped` counts what was not taken in:
    `observations` of further series, their kept `slots`, and `values` of the archive that could not be read.
    """

    def __init__(self, *, clock: Clock, most_series: int = MOST_SERIES) -> None:
        self._clock = clock
        self._monotonic = clock.monotonic
        self._ahead_s = clock.now() - clock.monotonic()
        self._most_series = most_series
        self._histories: dict[Series, WindowHistory] = {}
        self._forget: list[Callable[[str], None]] = []
        self.dropped: Counter[str] = Counter(observations=0, slots=0, values=0)

    def observe(
        self,
        app_id: str,
        component_id: str,
        *,
        handler: str,
        latency_ms: float,
        ok: bool,
        tokens_in: int = 0,
        tokens_out: int = 0,
        cost_usd: float = 0.0,
        deoptimized: str | None = None,
    ) -> None:
        """Count one execution, answered by `handler` (llm, jit or workflow) after `latency_ms`.

        `deoptimized` is the reason when the model answered although a handler is in service. Takes 1 to 2 µs.
        """
        key = (app_id, component_id, handler)
        number = int((self._monotonic() + self._ahead_s) / 10)  # FINE.slot_s, without the look-up
        history = self._histories.get(key)
        if history is None:
            if len(self._histories) >= self._most_series:
                self.dropped["observations"] += 1
                return
            history = self._histories[key] = WindowHistory(number)
        slot = history.current
        if slot.number != number:
            slot = history.open_slot(number)
        if not MIN_VALUE < latency_ms < MAX_VALUE:  # also when it is not a number
            latency_ms = MAX_VALUE if latency_ms >= MAX_VALUE else MIN_VALUE
        slot.count += 1
        slot.latency_ms += latency_ms
        if latency_ms > slot.max_latency_ms:
            slot.max_latency_ms = latency_ms
        if latency_ms < slot.min_latency_ms:
            slot.min_latency_ms = latency_ms
        index = ceil(log(latency_ms) * PER_LOG)  # quantile_sketch.bin_of, without the call
        bins = slot.bins
        bins[index] = bins.get(index, 0) + 1
        if not ok:
            slot.errors += 1
        if tokens_in or tokens_out or cost_usd:
            slot.tokens_in += tokens_in
            slot.tokens_out += tokens_out
            slot.cost_usd += cost_usd
        if deoptimized is not None:
            slot.deoptimized = reasons = slot.deoptimized or {}
            reasons[deoptimized] = reasons.get(deoptimized, 0) + 1

    def window(
        self, app_id: str, component_id: str | None = None, window_s: float = 60, handler: str | None = None
    ) -> Window:
        """The last `window_s` seconds (30 s to 35 days) of one component (None: all of the application).

        `handler` asks for the executions that it answered; None asks for all.
        """
        now = self.now_s()
        window_s = min(max(window_s, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)
        scale = next(one for one in SCALES if window_s <= one.reach_s)
        first = int(now / scale.slot_s) - ceil(window_s / scale.slot_s) + 1
        slots = (
            slot for history in self._matching(app_id, component_id, handler) for slot in history.since(first, scale)
        )
        return Window(slots, window_s=window_s, covered_s=now - first * scale.slot_s)

    def curve(
        self, app_id: str, component_id: str | None = None, *, window_s: float, points: int, handler: str | None = None
    ) -> list[Window]:
        """The last `window_s` seconds as `points` windows one after another, the oldest first; for charts.

        Each covers the same number of whole slots, so that the curve may reach further back than asked.
        """
        now = self.now_s()
        window_s = min(max(window_s, SHORTEST_WINDOW_S), LONGEST_WINDOW_S)
        scale = next(one for one in SCALES if window_s <= one.reach_s)
        each = max(1, ceil(window_s / scale.slot_s / points))
        first = int(now / scale.slot_s) - each * points + 1
        found: list[list[Slot | bytes]] = [[] for _ in range(points)]
        for history in self._matching(app_id, component_id, handler):
            for number, slot in history.numbered(first, scale):
                found[(number - first) // each].append(slot)
        each_s = float(each * scale.slot_s)
        newest_s = max(1.0, now - (first + each * (points - 1)) * scale.slot_s)  # it may have begun just now
        covered_s = [each_s] * (points - 1) + [newest_s]
        return [
            Window(slots, window_s=each_s, covered_s=covered) for slots, covered in zip(found, covered_s, strict=True)
        ]

    def forget(self, app_id: str) -> None:
        """Drop what is known of an application that is gone."""
        for key in [key for key in self._histories if key[0] == app_id]:
            del self._histories[key]
        for forget in self._forget:
            forget(app_id)

    # -- what an archive needs (windows_archive)

    def on_forget(self, forget: Callable[[str], None]) -> None:
        """Call `forget` with every application that is dropped."""
        self._forget.append(forget)

    def now_s(self) -> float:
        """The present by which slots are numbered, in seconds since the epoch."""
        return self._monotonic() + self._ahead_s

    def follow_clock(self) -> None:
        """Let the present be the clock's, where that has run ahead."""
        late_s = self._clock.now() - self.now_s()
        if late_s >= FINE.slot_s:
            self._ahead_s += late_s
            log_event.info("windows_clock_forward", seconds=round(late_s))

    def series(self) -> list[Series]:
        """Every series that has executions within reach."""
        return list(self._histories)

    def settle(self, series: Series) -> None:
        """Close the slots of a series that are over; forget it when nothing of it is left within reach."""
        history = self._histories.get(series)
        if history is not None:
            history.settle(int(self.now_s() / FINE.slot_s))
            if history.is_empty:
                del self._histories[series]

    def kept(self, series: Series, first: int, scale: Scale) -> list[bytes]:
        """The slots of a series from number `first` on, packed; the one in progress as it is now."""
        history = self._histories.get(series)
        return [] if history is None else history.kept(first, scale)

    def take_back(self, series: Series, kept: Mapping[Scale, Iterable[bytes]]) -> None:
        """Take in slots from before the restart. None of them is newer than `now_s`."""
        number = int(self.now_s() / FINE.slot_s)
        history = self._histories.get(series)
        if history is None:
            if len(self._histories) >= self._most_series:
                self.dropped["slots"] += sum(1 for slots in kept.values() for _ in slots)
                return
            history = self._histories[series] = WindowHistory(number)
        history.take_back(kept, number)

    def not_before(self, now_s: float) -> None:
        """Let the present be at least this: the clock was set back while the server was down."""
        self._ahead_s += max(0.0, now_s - self.now_s())

    def _matching(self, app_id: str, component_id: str | None, handler: str | None) -> Iterator[WindowHistory]:
        if component_id is None:
            for key, history in self._histories.items():
                if key[0] == app_id and handler in (None, key[2]):
                    yield history
        else:
            for one in (handler,) if handler else HANDLERS:
                found = self._histories.get((app_id, component_id, one))
                if found:
                    yield found
