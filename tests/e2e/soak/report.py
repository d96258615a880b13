"""What a soak found, as a table for people."""

import statistics
from collections.abc import Callable, Iterator

from tests.e2e.soak.figures import memory_slope, p99_ms, p99_ratio
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
    """Of the first and the last window: ten minutes, or a third of a soak that is short. The medians tell what has
    become slower by itself, p99 with its interval what may have.
    """
    begins, ends = found.took[0].began_s, max(one.began_s for one in found.took)
    window_s = min(_WINDOW_S, (ends - begins) / 3)
    window = f"{window_s:.0f} s"
    yield f"{'':30}{f'p50 in ms, first {window}':>24}{'last':>8}{'p99, first':>12}{'last':>8}   last/first (95 %)"
    for name in (_ALL, *sorted({one.name for one in found.took})):
        of_name = [(one.began_s, one.took_s) for one in found.took if name in (one.name, _ALL)]
        first = [one for one in of_name if one[0] <= begins + window_s]
        last = [one for one in of_name if one[0] >= ends - window_s]
        p50s, p99s = ([of([took_s for _, took_s in part]) for part in (first, last)] for of in (_p50_ms, p99_ms))
        yield (
            f"{name:30}{p50s[0]:24.1f}{p50s[1]:8.1f}{p99s[0]:12.1f}{p99s[1]:8.1f}   {p99_ratio(first, last)}, "
            f"{len(of_name)} steps"
        )


def _p50_ms(times_s: list[float]) -> float:
    return statistics.median(times_s) * 1000
