"""The governor bench: every scenario played many times, on all cores, each run on a machine of its own."""

import asyncio
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from threading import Event

from uhlp.bench.playing import RunResult, play
from uhlp.bench.report import Row, row_of
from uhlp.bench.scenarios import Scenario
from uhlp.evolution.config import EvolutionConfig
from uhlp.logs import configure_logs

_CONFIG = EvolutionConfig(evidence_save_s=3600.0)
"""The defaults; but that clean comparisons reach the database late costs nothing here."""
_is_ended = Event()
_MEMORY = Path("/dev/shm")  # noqa: S108  each run makes a directory of its own there


def bench(
    scenarios: Sequence[Scenario],
    *,
    seed: int,
    runs: int | None = None,
    is_long: bool = False,
    workers: int | None = None,
    on_run: Callable[[], None] = lambda: None,
) -> Iterator[Row]:
    """The row of each scenario as soon as all of its runs have ended. Run i has seed `seed` + i in every scenario.

    `runs` of each, else as many as the scenario says for the long or the short bench. `on_run` is called for each run
    that has ended, by another thread.
    """
    workers = workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_prepare) as pool:
        numbers = numbers_of_runs(scenarios, runs=runs, is_long=is_long)
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # by workers, too, until they are prepared
        try:
            waiting = [
                [pool.submit(_play, scenario, seed + run) for run in range(number)]
                for scenario, number in zip(scenarios, numbers, strict=True)
            ]
        finally:
            signal.signal(signal.SIGINT, heard)
        for future in (one for futures in waiting for one in futures):
            future.add_done_callback(lambda _: on_run())
        try:
            for scenario, futures in zip(scenarios, waiting, strict=True):
                yield row_of(scenario, [one.result() for one in futures])
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def numbers_of_runs(scenarios: Sequence[Scenario], *, runs: int | None, is_long: bool) -> list[int]:
    """How often `bench` plays each scenario."""
    return [runs or (one.runs if is_long else one.quick_runs) for one in scenarios]


def play_once(scenario: Scenario, seed: int) -> RunResult:
    """One run in this process."""
    with tempfile.TemporaryDirectory(prefix="uhlp-bench-", dir=_MEMORY if _MEMORY.is_dir() else None) as directory:
        return asyncio.run(play(scenario, seed, _CONFIG, Path(directory)))


def _play(scenario: Scenario, seed: int) -> RunResult:
    if _is_ended.is_set():
        sys.exit()
    return play_once(scenario, seed)


def _end(*_: object) -> None:
    """Ctrl-C: this run ends, its folder is removed, and what the pool still hands out is not begun."""
    _is_ended.set()
    sys.exit()


def _prepare() -> None:
    """A worker: quiet, also at Ctrl-C, and without looking for garbage all the time."""
    signal.signal(signal.SIGINT, _end)
    configure_logs("text", "error")
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
