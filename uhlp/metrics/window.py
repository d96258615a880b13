"""Window: the numbers of a stretch of time up to now, as rules, tables and the REST interface read them."""

from collections.abc import Iterable
from typing import Any

from uhlp.metrics.quantile_sketch import QuantileSketch
from uhlp.metrics.slot import PackedSums, Slot, add_bins

_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCY_FUNCTIONS = ("avg", "sum", "min", *_QUANTILES, "max")


class Window:
    """Fixed when it was asked for; what rules see (`uhlp.expressions.WindowValues`).

    Sums are added up at once, quantiles when the first is asked for: most rules ask for none.
    """

    __slots__ = ("_bins", "_covered_s", "_packed", "_sketch", "_sums", "_total", "window_s")

    def __init__(self, slots: Iterable[Slot | bytes], *, window_s: float, covered_s: float) -> None:
        self._covered_s = covered_s
        self.window_s = window_s
        self._total = total = Slot(0)
        self._packed: list[tuple[bytes, PackedSums]] = []
        self._bins: list[dict[int, int]] = []
        self._sketch: QuantileSketch | None = None
        for slot in slots:
            if isinstance(slot, bytes):
                self._packed.append((slot, total.add_packed_sums(slot)))
            else:
                total.add_sums(slot)
                self._bins.append(slot.bins.copy())
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
        if function in _QUANTILES or function in ("min", "max"):
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
            "latencyMs": {name: self.value(name, "latency_ms") for name in LATENCY_FUNCTIONS},
            "tokensIn": total.tokens_in,
            "tokensOut": total.tokens_out,
            "costUsd": total.cost_usd,
            "deoptimized": dict(total.deoptimized or {}),
        }

    def _latency(self, function: str) -> float | None:
        total = self._total
        if not total.count:
            return None
        if function in ("min", "max"):
            return total.min_latency_ms if function == "min" else total.max_latency_ms
        if self._sketch is None:
            self._sketch = QuantileSketch(self._merged_bins())
        estimate = self._sketch.quantile(_QUANTILES[function])
        return None if estimate is None else min(max(estimate, total.min_latency_ms), total.max_latency_ms)

    def _merged_bins(self) -> dict[int, int]:
        merged: dict[int, int] = {}
        for bins in self._bins:
            for index, count in bins.items():
                merged[index] = merged.get(index, 0) + count
        for packed, sums in self._packed:
            add_bins(merged, packed, sums)
        return merged
