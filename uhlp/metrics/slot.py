"""Slot: the sums of one component's executions within a few seconds or minutes."""

from array import array
from collections import Counter
from collections.abc import Iterable
from typing import Self


class Slot:
    """Sums that can be added to, merged and closed. `number` says which stretch of time it covers."""

    __slots__ = (
        "_closed_bins",
        "bins",
        "cost_usd",
        "count",
        "deoptimized",
        "errors",
        "latency_ms",
        "max_latency_ms",
        "number",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.errors = 0
        self.latency_ms = 0.0
        self.max_latency_ms = 0.0
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost_usd = 0.0
        self.deoptimized: dict[str, int] | None = None
        self.bins: dict[int, int] = {}
        self._closed_bins: tuple[array[int], array[int]] | None = None

    def merge(self, others: Iterable["Slot"]) -> Self:
        """Add the sums of `others` to this open slot."""
        bins = self.bins
        for other in others:
            self.count += other.count
            self.errors += other.errors
            self.latency_ms += other.latency_ms
            self.max_latency_ms = max(self.max_latency_ms, other.max_latency_ms)
            self.tokens_in += other.tokens_in
            self.tokens_out += other.tokens_out
            self.cost_usd += other.cost_usd
            if other.deoptimized:
                self.deoptimized = dict(Counter(self.deoptimized) + Counter(other.deoptimized))
            for index, count in zip(*other._closed_bins, strict=True) if other._closed_bins else other.bins.items():
                bins[index] = bins.get(index, 0) + count
        return self

    def close(self) -> None:
        """Pack the bins, a tenth of the memory; the slot can still be merged into others, not added to."""
        self._closed_bins = array("h", self.bins.keys()), array("L", self.bins.values())
        self.bins = {}
