"""Slot: the sums of one component's executions within a stretch of time, and its packed form once the time is over.

An open slot is added to with every execution. A closed one is `bytes`, a tenth of the memory, and what is kept over
restarts: a header of sums, the bins of the latencies, their counts in the fewest bytes that hold them, and the reasons
of deoptimisation as JSON.
"""

from array import array
from math import inf
from struct import Struct
from typing import NamedTuple, Self

import orjson

_HEADER = Struct("<iIIddddddHB")
_NUMBER = Struct("<i")
_REQUESTS = Struct("<4xI")
_COUNT_CODES = {1: "B", 2: "H", 4: "I"}


class PackedSums(NamedTuple):
    """The header of a packed slot. `bins` latency bins follow, whose counts take `width` bytes each."""

    number: int
    requests: int
    errors: int
    latency_ms: float
    min_latency_ms: float
    max_latency_ms: float
    tokens_in: float
    tokens_out: float
    cost_usd: float
    bins: int
    width: int


class Slot:
    """Sums that can be added to, merged and packed. `number` says which stretch of time it covers."""

    __slots__ = (
        "bins",
        "cost_usd",
        "count",
        "deoptimized",
        "errors",
        "latency_ms",
        "max_latency_ms",
        "min_latency_ms",
        "number",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.count = 0
        self.errors = 0
        self.latency_ms = 0.0
        self.min_latency_ms = inf
        self.max_latency_ms = 0.0
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost_usd = 0.0
        self.deoptimized: dict[str, int] | None = None
        self.bins: dict[int, int] = {}

    def merge(self, other: "Slot") -> Self:
        """Add the sums and bins of another open slot."""
        self.add_sums(other)
        for index, count in other.bins.items():
            self.bins[index] = self.bins.get(index, 0) + count
        return self

    def merge_packed(self, packed: bytes) -> Self:
        """Add the sums and bins of a packed slot."""
        sums = self.add_packed_sums(packed)
        add_bins(self.bins, packed, sums)
        return self

    def add_sums(self, other: "Slot") -> None:
        """Add everything but the bins."""
        self.count += other.count
        self.errors += other.errors
        self.latency_ms += other.latency_ms
        self.min_latency_ms = min(self.min_latency_ms, other.min_latency_ms)
        self.max_latency_ms = max(self.max_latency_ms, other.max_latency_ms)
        self.tokens_in += other.tokens_in
        self.tokens_out += other.tokens_out
        self.cost_usd += other.cost_usd
        if other.deoptimized:
            self._add_reasons(other.deoptimized)

    def add_packed_sums(self, packed: bytes) -> PackedSums:
        """Add everything but the bins; returns the header, by which `add_bins` finds them."""
        sums = PackedSums._make(_HEADER.unpack_from(packed))
        self.count += sums.requests
        self.errors += sums.errors
        self.latency_ms += sums.latency_ms
        self.min_latency_ms = min(self.min_latency_ms, sums.min_latency_ms)
        self.max_latency_ms = max(self.max_latency_ms, sums.max_latency_ms)
        self.tokens_in += int(sums.tokens_in)
        self.tokens_out += int(sums.tokens_out)
        self.cost_usd += sums.cost_usd
        end = _HEADER.size + sums.bins * (2 + sums.width)
        if len(packed) > end:
            self._add_reasons(orjson.loads(packed[end:]))
        return sums

    def pack(self) -> bytes:
        """The slot as bytes, which `merge_packed` adds to another one."""
        indices = sorted(self.bins)
        counts = [self.bins[index] for index in indices]
        most = max(counts, default=0)
        width = 1 if most < 2**8 else 2 if most < 2**16 else 4
        header = _HEADER.pack(
            self.number, self.count, self.errors, self.latency_ms, self.min_latency_ms, self.max_latency_ms,
            self.tokens_in, self.tokens_out, self.cost_usd, len(indices), width,
        )  # fmt: skip
        reasons = orjson.dumps(self.deoptimized) if self.deoptimized else b""
        return header + array("h", indices).tobytes() + array(_COUNT_CODES[width], counts).tobytes() + reasons

    def _add_reasons(self, reasons: dict[str, int]) -> None:
        self.deoptimized = known = self.deoptimized or {}
        for reason, count in reasons.items():
            known[reason] = known.get(reason, 0) + count


def number_of(packed: bytes) -> int:
    """Which stretch of time a packed slot covers."""
    number: int = _NUMBER.unpack_from(packed)[0]
    return number


def requests_of(packed: bytes) -> int:
    """How many executions a packed slot holds."""
    requests: int = _REQUESTS.unpack_from(packed)[0]
    return requests


def add_bins(bins: dict[int, int], packed: bytes, sums: PackedSums) -> None:
    """Add a packed slot's bins to `bins`."""
    for index, count in zip(*_bins_of(packed, sums), strict=True):
        bins[index] = bins.get(index, 0) + count


def _bins_of(packed: bytes, sums: PackedSums) -> "tuple[array[int], array[int]]":
    middle = _HEADER.size + 2 * sums.bins
    indices, counts = array("h"), array(_COUNT_CODES[sums.width])
    indices.frombytes(packed[_HEADER.size : middle])
    counts.frombytes(packed[middle : middle + sums.width * sums.bins])
    return indices, counts
