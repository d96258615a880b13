"""Windows: what each component did of late, as rules, tables and the REST interface ask for it (contracts §2, §7).

Executions are summed in slots of 10 s, kept for an hour; a closed slot is also merged into one of 5 min, kept for 48 h.
A window is read in whole slots: the one in progress and those before it, so it reaches back by up to one slot less
than asked. Windows longer than an hour are read in slots of 5 min.
"""

from collections import deque
from collections.abc import Iterator
from math import ceil, log
from typing import Any

from uhlp.clock import Clock
from uhlp.metrics.quantile_sketch import MAX_VALUE, MIN_VALUE, PER_LOG, quantile
from uhlp.metrics.slot import Slot

FINE_SLOT_S = 10
COARSE_SLOT_S = 300
FINE_REACH_S = 3_600
COARSE_REACH_S = 48 * 3_600
SHORTEST_WINDOW_S = 30

HANDLERS = ("llm", "jit", "workflow")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class Windows:
    """Sliding windows per application, component and handler. Memory is bounded by their number."""

    def __init__(self, *, clock: Clock) -> None:
        self._monotonic = clock.monotonic
        self._histories: dict[tuple[str, str, str], _History] = {}

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
        number = int(self._monotonic() / FINE_SLOT_S)
        history = self._histories.get(key)
        if history is None:
            history = self._histories[key] = _History(number)
        slot = history.current
        if slot.number != number:
            slot = history.open_slot(number)
        if not MIN_VALUE < latency_ms < MAX_VALUE:  # also when it is not a number
            latency_ms = MAX_VALUE if latency_ms >= MAX_VALUE else MIN_VALUE
        slot.count += 1
        slot.latency_ms += latency_ms
        if latency_ms > slot.max_latency_ms:
            slot.max_latency_ms = latency_ms
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
    ) -> "Window":
        """The last `window_s` seconds (30 s to 48 h) of one component (None: all of the application).

        `handler` asks for the executions that it answered; None asks for all.
        """
        now = self._monotonic()
        slot_s = FINE_SLOT_S if window_s <= FINE_REACH_S else COARSE_SLOT_S
        window_s = min(max(window_s, SHORTEST_WINDOW_S), COARSE_REACH_S)
        first = int(now / slot_s) - ceil(window_s / slot_s) + 1
        total = Slot(first)
        for history in self._matching(app_id, component_id, handler):
            total.merge(history.slots_since(first, slot_s))
        return Window(total, window_s=window_s, covered_s=now - first * slot_s)

    def forget(self, app_id: str) -> None:
        """Drop what is known of an application that is gone."""
        for key in [key for key in self._histories if key[0] == app_id]:
            del self._histories[key]

    def _matching(self, app_id: str, component_id: str | None, handler: str | None) -> Iterator["_History"]:
        if component_id is None:
            for key, history in self._histories.items():
                if key[0] == app_id and handler in (None, key[2]):
                    yield history
        else:
            for one in (handler,) if handler else HANDLERS:
                found = self._histories.get((app_id, component_id, one))
                if found:
                    yield found


class Window:
    """The numbers of one window, fixed when it was asked for; what rules see (`uhlp.expressions.WindowValues`)."""

    __slots__ = ("_covered_s", "_sums", "_total", "window_s")

    def __init__(self, total: Slot, *, window_s: float, covered_s: float) -> None:
        self._total = total
        self._covered_s = covered_s
        self.window_s = window_s
        self._sums: dict[str, float] = {
            "requests": total.count,
            "errors": total.errors,
            "latency_ms": total.latency_ms,
            "tokens_in": total.tokens_in,
            "tokens_out": total.tokens_out,
            "cost_usd": total.cost_usd,
        }

    @property
    def count(self) -> int:
        """Executions in the window."""
        return self._total.count

    def value(self, function: str, series: str) -> float | None:
        """`function` over `series`, as `SERIES_OF_FUNCTION` pairs them; None without data or for another pair."""
        if series == "calls_per_min":
            return self._total.count * 60 / self._covered_s if function == "rate" else None
        if function in _QUANTILES or function == "max":
            return self._latency(function) if series == "latency_ms" else None
        amount = self._sums.get(series)
        if amount is None:
            return None
        if function == "sum" or (function == "count" and series in ("requests", "errors")):
            return float(amount)
        if function in ("avg", "rate"):
            return amount / self._total.count if self._total.count else None
        return None

    def as_dict(self) -> dict[str, Any]:
        """The same numbers as REST shows them; null where there is no data."""
        total = self._total
        return {
            "windowS": self.window_s,
            "count": total.count,
            "errors": total.errors,
            "errorRate": self.value("rate", "errors"),
            "callsPerMin": self.value("rate", "calls_per_min"),
            "latencyMs": {name: self.value(name, "latency_ms") for name in ("avg", *_QUANTILES, "max")},
            "tokensIn": total.tokens_in,
            "tokensOut": total.tokens_out,
            "costUsd": total.cost_usd,
            "deoptimized": dict(total.deoptimized or {}),
        }

    def _latency(self, function: str) -> float | None:
        if not self._total.count:
            return None
        if function == "max":
            return self._total.max_latency_ms
        estimate = quantile(self._total.bins, _QUANTILES[function])
        return None if estimate is None else min(estimate, self._total.max_latency_ms)


class _History:
    """The slots of one series, oldest first."""

    __slots__ = ("_coarse", "_fine", "current")

    def __init__(self, number: int) -> None:
        self.current = Slot(number)
        self._fine: deque[Slot] = deque()
        self._coarse: deque[Slot] = deque()

    def open_slot(self, number: int) -> Slot:
        """Close the current slot and begin another; what is out of reach is dropped."""
        closed = self.current
        coarse_number = closed.number * FINE_SLOT_S // COARSE_SLOT_S
        if not self._coarse or self._coarse[-1].number != coarse_number:
            if self._coarse:
                self._coarse[-1].close()
            self._coarse.append(Slot(coarse_number))
        self._coarse[-1].merge([closed])
        closed.close()
        self._fine.append(closed)
        _drop_before(self._fine, number - FINE_REACH_S // FINE_SLOT_S)
        _drop_before(self._coarse, number * FINE_SLOT_S // COARSE_SLOT_S - COARSE_REACH_S // COARSE_SLOT_S)
        self.current = Slot(number)
        return self.current

    def slots_since(self, first: int, slot_s: int) -> Iterator[Slot]:
        """Closed and current slots from number `first` on, in slots of `slot_s`."""
        if self.current.number * FINE_SLOT_S >= first * slot_s:
            yield self.current
        for slot in reversed(self._fine if slot_s == FINE_SLOT_S else self._coarse):
            if slot.number < first:
                break
            yield slot


def _drop_before(slots: deque[Slot], number: int) -> None:
    while slots and slots[0].number < number:
        slots.popleft()
