"""Series: one label set of a metric, as what writes it and what renders it both want it.

The numbers live where prometheus_client keeps them, in the cells of a child of its Counter, Gauge, Histogram or
Summary. This module alone reaches into those cells, which the library does not publish (`_value`, `_sum`, `_count`,
`_buckets`), for three reasons: totals that come from elsewhere are set, not added; its `observe` walks all buckets and
checks each exemplar anew, 7 microseconds where 2 are enough; and reading a child through `collect` builds objects that
cost ten times the text. A test holds what is rendered from here equal to the library's own exposition.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import prometheus_client
from prometheus_client.samples import Exemplar, Sample
from prometheus_client.utils import floatToGoString

from uhlp.clock import Clock
from uhlp.metrics.point import HistogramTotals, SummaryTotals

Labels = Sequence[tuple[str, str]]
_as_go_prints: Callable[[float], str] = floatToGoString


class Series:
    """A label set. `owner` is whose share of the series it uses, None for the server's own metrics; `written_s` is when
    it was written last (monotonic), None while a list that made it may still be refused. Every type has `record` (add,
    set or observe a number), `add` and `set_total`.
    """

    __slots__ = ("owner", "written_s")

    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        self.written_s: float | None = 0.0 if owner is None else None


class CounterSeries(Series):
    """Counts up."""

    __slots__ = ("_cell", "prefix", "read")

    def __init__(self, child: Any, name: str, labels: Labels, owner: str | None) -> None:
        super().__init__(owner)
        self._cell = child._value
        self.read = self._cell.get
        self.prefix = f"\n{name}_total{label_text(labels)} "

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`, which is not negative."""
        if amount < 0:
            raise ValueError("a counter only rises")
        self._cell.inc(amount)

    record = add = inc

    def set_total(self, total: float) -> None:
        """What it stands at, as another process has counted it."""
        self._cell.set(float(total))


class GaugeSeries(Series):
    """Goes up and down."""

    __slots__ = ("_cell", "add", "inc", "prefix", "read")

    def __init__(self, child: Any, name: str, labels: Labels, owner: str | None) -> None:
        super().__init__(owner)
        self._cell = child._value
        self.inc = self.add = child.inc
        self.read = self._cell.get
        self.prefix = f"\n{name}{label_text(labels)} "

    def dec(self, amount: float = 1.0) -> None:
        self._cell.inc(-amount)

    def set(self, value: float) -> None:
        self._cell.set(float(value))

    set_total = record = set  # noqa: A003  the method, as prometheus_client names it


class SummarySeries(Series):
    """Count and sum of what was observed, and quantiles where others computed them."""

    __slots__ = ("_child", "_count", "_labels", "_name", "_prefixes", "_quantile_prefixes", "_sum")

    def __init__(self, child: Any, name: str, labels: Labels, owner: str | None) -> None:
        super().__init__(owner)
        self._child = child
        self._count = child._count
        self._sum = child._sum
        self._name = name
        self._labels = labels
        text = label_text(labels)
        self._prefixes = (f"\n{name}_count{text} ", f"\n{name}_sum{text} ")
        self._quantile_prefixes: dict[float, str] = {}

    def observe(self, amount: float, trace_id: str = "") -> None:
        self._count.inc(1)
        self._sum.inc(amount)

    record = observe

    def set_total(self, totals: SummaryTotals) -> None:
        """What it stands at, as another process has observed it."""
        self._count.set(float(totals.count))
        self._sum.set(float(totals.sum))
        self._child.quantiles = tuple((quantile, float(value)) for quantile, value in totals.quantiles)
        self._quantile_prefixes = {
            quantile: f"\n{self._name}{label_text([*self._labels, ('quantile', _as_go_prints(quantile))])} "
            for quantile, _ in totals.quantiles
        }

    def add(self, totals: SummaryTotals) -> None:
        """What was observed since the last time; quantiles of parts cannot be put together and are not shown."""
        self._count.inc(totals.count)
        self._sum.inc(totals.sum)

    def render(self, out: list[str]) -> None:
        out.append(self._prefixes[0] + number(self._count.get()))
        out.append(self._prefixes[1] + number(self._sum.get()))
        for quantile, value in self._child.quantiles:
            out.append(self._quantile_prefixes[quantile] + number(value))


class HistogramSeries(Series):
    """Counts what was observed, by bucket. The last observation of a bucket that named its trace is its exemplar."""

    __slots__ = ("_bounds", "_cells", "_clock", "_count_prefix", "_prefixes", "_sum", "_sum_prefix")

    def __init__(self, child: Any, name: str, labels: Labels, owner: str | None, clock: Clock) -> None:
        super().__init__(owner)
        self._cells = child._buckets
        self._sum = child._sum
        self._bounds: list[float] = child._upper_bounds
        self._clock = clock
        self._prefixes = tuple(
            f"\n{name}_bucket{label_text([*labels, ('le', _as_go_prints(bound))])} " for bound in self._bounds
        )
        text = label_text(labels)
        self._count_prefix = f"\n{name}_count{text} "
        self._sum_prefix = (
            f"\n{name}_sum{text} " if self._bounds[0] >= 0 else ""
        )  # OpenMetrics: no sum beside negatives

    def observe(self, amount: float, trace_id: str = "") -> None:
        self._sum.inc(amount)
        cell = self._cells[bisect_left(self._bounds, amount)]
        cell.inc(1)
        if trace_id:
            cell.set_exemplar(Exemplar({"trace_id": trace_id}, float(amount), self._clock.now()))

    record = observe

    def set_total(self, totals: HistogramTotals) -> None:
        """What it stands at, as another process has observed it."""
        for cell, count in zip(self._cells, totals.counts, strict=True):
            cell.set(float(count))
        self._sum.set(float(totals.sum))

    def add(self, totals: HistogramTotals) -> None:
        """What was observed since the last time."""
        for cell, count in zip(self._cells, totals.counts, strict=True):
            cell.inc(count)
        self._sum.inc(totals.sum)

    def render(self, out: list[str]) -> None:
        counts = list(accumulate([cell.get() for cell in self._cells], initial=0.0))
        for prefix, count in zip(self._prefixes, counts[1:], strict=True):
            out.append(prefix + number(count))
        self._render_rest(out, counts[-1])

    def render_with_exemplars(self, out: list[str]) -> None:
        count = 0.0
        for prefix, cell in zip(self._prefixes, self._cells, strict=True):
            count += cell.get()
            exemplar = cell.get_exemplar()
            if exemplar is None:
                out.append(prefix + number(count))
            else:
                trace = escaped(exemplar.labels["trace_id"])
                said = f' # {{trace_id="{trace}"}} {number(exemplar.value)} {exemplar.timestamp}'
                out.append(prefix + number(count) + said)
        self._render_rest(out, count)

    def _render_rest(self, out: list[str], count: float) -> None:
        out.append(self._count_prefix + number(count))
        if self._sum_prefix:
            out.append(self._sum_prefix + number(self._sum.get()))


class QuantileSummary(prometheus_client.Summary):
    """prometheus_client's Summary, which has no quantiles, with those that others computed."""

    quantiles: tuple[tuple[float, float], ...] = ()

    def _child_samples(self) -> Any:
        shown = [Sample("", {"quantile": _as_go_prints(q)}, value, None, None) for q, value in self.quantiles]
        return (*super()._child_samples(), *shown)


INSTRUMENTS: dict[str, Any] = {
    "counter": prometheus_client.Counter,
    "gauge": prometheus_client.Gauge,
    "histogram": prometheus_client.Histogram,
    "summary": QuantileSummary,
}


def label_text(labels: Labels) -> str:
    """`{a="1",b="2"}`, sorted by name as prometheus_client has it; nothing without labels."""
    if not labels:
        return ""
    return "{" + ",".join([f'{name}="{escaped(value)}"' for name, value in sorted(labels)]) + "}"


def escaped(text: str) -> str:
    """A label's value as both formats want it."""
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def number(value: float) -> str:
    """As Go prints it; the short way for what both print alike."""
    return repr(value) if -1e300 < value < 1e6 else _as_go_prints(value)
