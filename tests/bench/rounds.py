"""Interleaved rounds: every target in turn, several times, so that a noisy minute hits all of them alike."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.bench.application import APP_ID
from tests.bench.load import API_KEY, Figures, measure, median, wire_body


@dataclass(frozen=True, slots=True)
class Target:
    """Where one side of a comparison listens, and what it is sent."""

    url: str
    body: Any


Results = dict[str, dict[int, Figures]]
"""By the target's name, then by the number of connections."""


def run_rounds(targets: Mapping[str, Target], *, connections: Sequence[int], rounds: int, seconds: int) -> Results:
    """Medians over `rounds`, each of `seconds` per target and number of connections."""
    for target in targets.values():
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json", "X-App-Id": APP_ID}
        first = httpx.post(target.url, content=wire_body(target.body), headers=headers, timeout=60)
        first.raise_for_status()
        for count in connections:
            measure(target.url, target.body, connections=count, seconds=1)  # caches and pools fill
    spells: dict[str, dict[int, list[Figures]]] = {name: {count: [] for count in connections} for name in targets}
    for _ in range(rounds):
        for count in connections:
            for name, target in targets.items():
                spells[name][count].append(measure(target.url, target.body, connections=count, seconds=seconds))
    return {name: {count: median(figures) for count, figures in by_count.items()} for name, by_count in spells.items()}


def print_table(results: Results, say: Callable[[str], None] = print) -> None:
    """Requests per second and latencies, one line per target, and how busy the machine was."""
    counts = list(next(iter(results.values())))
    say(f"{'':34}" + "".join(f"{f'c={count}: req/s':>14}{'p50 ms':>9}{'p99 ms':>9}" for count in counts))
    for name, by_count in results.items():
        cells = "".join(f"{one.requests_per_s:14,.0f}{one.p50_ms:9.3f}{one.p99_ms:9.2f}" for one in by_count.values())
        say(f"{name:34}{cells}")
    say("load average of the machine: {:.2f} {:.2f} {:.2f}".format(*os.getloadavg()))


def verdict(what: str, value: float, goal: float, *, at_least: bool) -> str:
    """One line: a ratio beside its goal."""
    is_met = value >= goal if at_least else value <= goal
    return f"{what}: {value:.2f} (goal {'≥' if at_least else '≤'} {goal:.2f}) {'met' if is_met else 'NOT MET'}"
