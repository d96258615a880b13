"""A recorder that keeps every execution and answers by looking at all of them: what windows are held against."""

from typing import NamedTuple

import pytest
from hypothesis import strategies as st

from uhlp.clock import FakeClock
from uhlp.metrics import Windows
from uhlp.metrics.quantile_sketch import MAX_VALUE, MIN_VALUE
from uhlp.metrics.window_history import SCALES

APP, COMPONENT = "app", "triage"

WINDOWS_S = (30, 45, 60, 3_600, 3_601, 7_200, 48 * 3_600, 49 * 3_600, 35 * 86_400)

latencies = st.floats(MIN_VALUE * 1.001, MAX_VALUE * 0.999)
gaps = st.one_of(
    st.sampled_from([0.0, 1.0, 5.0, 10.0, 290.0, 300.0, 3_590.0, 3_600.0, 48 * 3_600.0]),
    st.integers(0, 400 * 1024).map(lambda ticks: ticks / 1024),
    st.integers(0, 40_000),
)
"""Seconds between executions, without rounding errors; a FakeClock begins on a border of 10 s."""


class Execution(NamedTuple):
    at: float
    handler: str
    latency_ms: float
    ok: bool
    tokens_in: int


class NaiveRecorder:
    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.executions: list[Execution] = []

    def observe(self, windows: Windows, *, handler: str, latency_ms: float, ok: bool, tokens_in: int = 0) -> None:
        """Tell both."""
        windows.observe(
            APP, COMPONENT, handler=handler, latency_ms=latency_ms, ok=ok, tokens_in=tokens_in, cost_usd=0.5
        )
        self.executions.append(Execution(self._clock.now(), handler, latency_ms, ok, tokens_in))

    def check(self, windows: Windows, window_s: int, handler: str | None) -> None:
        """Whole slots, the one in progress and those before it, of the finest scale that reaches so far."""
        slot_s = next(scale.slot_s for scale in SCALES if window_s <= scale.reach_s)
        first = int(self._clock.now() / slot_s) - -(-window_s // slot_s) + 1
        inside = [one for one in self.executions if one.at >= first * slot_s and handler in (None, one.handler)]
        ranked = sorted(one.latency_ms for one in inside)
        window = windows.window(APP, COMPONENT, window_s, handler)
        told = window.as_dict()
        assert told["count"] == len(inside)
        assert told["errors"] == sum(not one.ok for one in inside)
        assert told["tokensIn"] == sum(one.tokens_in for one in inside)
        assert told["costUsd"] == len(inside) * 0.5
        assert told["callsPerMin"] == pytest.approx(len(inside) * 60 / (self._clock.now() - first * slot_s))
        latency = told["latencyMs"]
        if not inside:
            assert told["errorRate"] is None
            assert latency == {**dict.fromkeys(latency), "sum": 0.0}
            return
        assert (latency["min"], latency["max"]) == (ranked[0], ranked[-1])
        assert latency["sum"] == pytest.approx(sum(ranked))
        assert latency["avg"] == pytest.approx(sum(ranked) / len(ranked))
        for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            place = q * (len(ranked) - 1)
            low, high = ranked[int(place)], ranked[min(int(place) + 1, len(ranked) - 1)]
            assert low * 0.99 * (1 - 1e-9) <= latency[name] <= high * 1.01 * (1 + 1e-9)
