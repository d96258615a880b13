"""Exposition: all metrics as text for Prometheus, 0.0.4 or OpenMetrics 1.0.

The text is that of prometheus_client, in a tenth of its time: every series keeps the beginning of its lines.
It is made on the event loop in pieces of about a millisecond with other work between them. A thread would take longer
and be felt more: it holds the interpreter's lock for 5 ms at a time. Compression gives the lock back, and has a thread.
"""

import asyncio
import zlib
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

from uhlp.metrics.metric_family import MetricFamily
from uhlp.metrics.series import number

TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_LINES_AT_A_TIME = 2_000
_GZIP = 31  # zlib's word for gzip's header and the largest window


class Form(NamedTuple):
    """What a scrape asks for."""

    is_openmetrics: bool = False
    is_gzipped: bool = False


Pieces = Sequence[bytes]


class Exposition:
    """Renders `families`. Those who ask for a form while it is being made get the same answer."""

    def __init__(self, families: Mapping[str, MetricFamily]) -> None:
        self._families = families
        self._being_made: dict[Form, asyncio.Task[Pieces]] = {}

    def whole(self, *, is_openmetrics: bool) -> bytes:
        """All of it in one go."""
        return b"".join(self._pieces(is_openmetrics=is_openmetrics))

    async def latest(self, form: Form) -> Pieces:
        """All of it, in pieces that belong one behind the other."""
        make = self._gzipped if form.is_gzipped else self._plain
        return await self._shared(form, make)

    async def _shared(self, form: Form, make: Callable[[Form], Coroutine[Any, Any, Pieces]]) -> Pieces:
        task = self._being_made.get(form)
        if task is None:
            task = self._being_made[form] = asyncio.create_task(make(form))
            task.add_done_callback(lambda _: self._being_made.pop(form, None))
        return await asyncio.shield(task)

    async def _plain(self, form: Form) -> Pieces:
        made = []
        for piece in self._pieces(is_openmetrics=form.is_openmetrics):
            made.append(piece)
            await asyncio.sleep(0)
        return made

    async def _gzipped(self, form: Form) -> Pieces:
        pieces = await self._shared(form._replace(is_gzipped=False), self._plain)
        return await asyncio.to_thread(_gzip, pieces)

    def _pieces(self, *, is_openmetrics: bool) -> Iterator[bytes]:
        """Every piece begins with a line feed too many, which the first one leaves out and the last one adds."""
        out: list[str] = []
        is_first = True
        for family in list(self._families.values()):
            out.append(family.openmetrics_head if is_openmetrics else family.text_head)
            series = iter(list(family.series.values()))
            while group := list(islice(series, max(1, _LINES_AT_A_TIME // family.lines_each))):
                written = [one for one in group if one.written_s is not None]
                _render(family.metric_type, written, out, is_openmetrics=is_openmetrics)
                if len(out) >= _LINES_AT_A_TIME:
                    yield _encoded(out, is_first=is_first)
                    out, is_first = [], False
        if is_openmetrics:
            out.append("\n# EOF")
        if out or not is_first:
            out.append("\n")
        yield _encoded(out, is_first=is_first)


def _render(metric_type: str, group: list[Any], out: list[str], *, is_openmetrics: bool) -> None:
    if metric_type in ("counter", "gauge"):
        out += [one.prefix + number(one.read()) for one in group]
    elif metric_type == "histogram" and is_openmetrics:
        for one in group:
            one.render_with_exemplars(out)
    else:
        for one in group:
            one.render(out)


def _encoded(lines: list[str], *, is_first: bool) -> bytes:
    text = "".join(lines)
    return (text[1:] if is_first else text).encode("utf-8", "replace")


def _gzip(pieces: Pieces) -> Pieces:
    packer = zlib.compressobj(level=1, wbits=_GZIP)
    return [*(packer.compress(piece) for piece in pieces), packer.flush()]
