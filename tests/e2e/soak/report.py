"""What a soak found, as a table for people."""

import statistics
from collections.abc import Callable, Iterator

from tests.e2e.soak.figures import memory_slope, p99_ms
from tests.e2e.soak.held import COUNTED, Held
from tests.e2e.soak.load import A_SECOND
from tests.e2e.soak.soak import Soak

_ROWS = 12
_WINDOW_S = 600.0
_ALL = "all"


def report(found: Soak, say: Callable[[str], None] = print) -> None:
    for line in _lines(found):
        say(line)


def _lines(found: Soak) -> Iterator[str]:
    asked = len(found.took)
    yield f"{found.seconds:.0f} s, {asked} steps, {asked / found.seconds:.1f} a second of {A_SECOND} wanted"
    yield f"{'':12}{'MiB':>8}" + "".join(f"{name:>13}" for name in COUNTED)
    began = found.seen[0].at_s
    for one in found.seen[:: -(-len(found.seen) // _ROWS)]:
        yield _row(f"{one.at_s - began:.0f} s", one)
    for when, one in zip(("rest before", "rest after"), found.at_rest, strict=True):
        yield _row(when, one)
    yield f"memory, the first third left out: {memory_slope(found.settled)}"
    yield from _times(found)
    by_code, by_model = (found.answered["promoted", handler] for handler in ("jit", "llm"))
    promoted = statistics.median(one.promoted_s for one in found.releases)
    yield (
        f"{len(found.releases)} releases: promoted after {promoted:.0f} s (median), rolled back and returned to; "
        f"code gave {by_code} answers meanwhile, the model {by_model}"
    )


def _row(when: str, one: Held) -> str:
    return f"{when:>12}{one.memory_mib:8.1f}" + "".join(f"{count:13}" for count in one.counts.values())


def _times(found: Soak) -> Iterator[str]:
    """Of the first and the last window: ten minutes, or a third of a soak that is short. Of what is done now and then
    some 120 steps are in a window, so that its p99 is nearly its longest."""
    begins, ends = found.took[0].began_s, max(one.began_s for one in found.took)
    window_s = min(_WINDOW_S, (ends - begins) / 3)
    yield f"{'p99 in ms of':34}{f'first {window_s:.0f} s':>14}{'last':>10}{'last/first':>12}{'steps':>8}"
    for name in (_ALL, *sorted({one.name for one in found.took})):
        of_name = [one for one in found.took if name in (one.name, _ALL)]
        first = p99_ms([one.took_s for one in of_name if one.began_s <= begins + window_s])
        last = p99_ms([one.took_s for one in of_name if one.began_s >= ends - window_s])
        yield f"{name:34}{first:14.1f}{last:10.1f}{last / first:12.2f}{len(of_name):8}"
