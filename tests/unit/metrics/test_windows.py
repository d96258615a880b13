"""Windows give the numbers of the last seconds, as a naive recorder would."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp.clock import FakeClock
from uhlp.expressions import SERIES_OF_FUNCTION, compile_rule
from uhlp.metrics import Windows
from uhlp.metrics.quantile_sketch import bin_of, quantile


@given(st.lists(st.floats(1e-5, 1e8), min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_errs_by_at_most_one_percent(values: list[float], q: float) -> None:
    bins: dict[int, int] = {}
    for value in values:
        bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
    estimate = quantile(bins, q)
    assert estimate is not None
    ranked = sorted(values)
    below, above = ranked[math.floor(q * (len(values) - 1))], ranked[math.ceil(q * (len(values) - 1))]
    assert below * 0.99 - 1e-12 <= estimate <= above * 1.01 + 1e-12


executions = st.lists(
    st.tuples(
        st.floats(0, 400),  # seconds since the one before
        st.floats(0.01, 1e5),
        st.booleans(),
        st.sampled_from(["llm", "jit"]),
        st.integers(0, 500),
    ),
    max_size=60,
)


@given(executions, st.sampled_from([30, 60, 300, 3_600, 7_200, 48 * 3_600]), st.sampled_from([None, "llm", "jit"]))
def test_a_window_equals_a_naive_recorder(
    done: list[tuple[float, float, bool, str, int]], window_s: int, handler: str | None
) -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    recorded: list[tuple[float, float, bool, str, int]] = []
    for gap, latency_ms, ok, by, tokens in done:
        clock.advance(gap)
        windows.observe("app", "triage", handler=by, latency_ms=latency_ms, ok=ok, tokens_in=tokens, cost_usd=0.5)
        recorded.append((clock.monotonic(), latency_ms, ok, by, tokens))
    slot_s = 10 if window_s <= 3_600 else 300
    first = int(clock.monotonic() / slot_s) - window_s // slot_s + 1
    inside = [row for row in recorded if int(row[0] / 10) * 10 >= first * slot_s and handler in (None, row[3])]
    window = windows.window("app", "triage", window_s, handler)
    assert window.value("count", "requests") == len(inside)
    assert window.value("count", "errors") == sum(not row[2] for row in inside)
    assert window.value("sum", "tokens_in") == sum(row[4] for row in inside)
    assert window.value("sum", "cost_usd") == len(inside) * 0.5
    assert window.value("max", "latency_ms") == (max(row[1] for row in inside) if inside else None)
    assert window.value("sum", "latency_ms") == pytest.approx(sum(row[1] for row in inside))
    p50 = window.value("p50", "latency_ms")
    if inside:
        ranked = sorted(row[1] for row in inside)
        assert p50 is not None
        assert ranked[(len(ranked) - 1) // 2] * 0.989 <= p50 <= ranked[len(ranked) // 2] * 1.011
    else:
        assert p50 is None


def test_an_execution_leaves_the_window_with_its_slot() -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    windows.observe("app", "triage", handler="llm", latency_ms=800, ok=True)
    for wait_s, expected in ((30, 1), (31, 0)):
        clock.advance(wait_s)
        assert windows.window("app", "triage").count == expected
    assert windows.window("app", "triage", 3_600).count == 1


def test_calls_per_minute_is_a_rate_over_the_time_that_the_slots_cover() -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    for _ in range(1_200):
        clock.advance(0.5)
        windows.observe("app", "triage", handler="jit", latency_ms=1, ok=True)
    for window_s in (30, 60, 300, 600):
        assert windows.window("app", "triage", window_s).value("rate", "calls_per_min") == pytest.approx(120, rel=0.06)


def test_handlers_and_components_are_told_apart_and_added_up() -> None:
    windows = Windows(clock=FakeClock())
    windows.observe(
        "app", "triage", handler="llm", latency_ms=900, ok=True, tokens_in=10, tokens_out=5, deoptimized="guard"
    )
    windows.observe("app", "triage", handler="jit", latency_ms=2, ok=False)
    windows.observe("app", "parse", handler="jit", latency_ms=3, ok=True)
    windows.observe("other", "triage", handler="jit", latency_ms=3, ok=True)
    assert windows.window("app", "triage", handler="jit").count == 1
    assert windows.window("app", "triage").count == 2
    assert windows.window("app").count == 3
    assert windows.window("app", handler="jit").count == 2
    assert windows.window("app", "triage").as_dict() == {
        "windowS": 60,
        "count": 2,
        "errors": 1,
        "errorRate": 0.5,
        "callsPerMin": pytest.approx(2.4, rel=0.2),
        "latencyMs": {
            "avg": 451.0,
            "p50": pytest.approx(2, rel=0.01),
            "p95": pytest.approx(2, rel=0.01),
            "p99": pytest.approx(2, rel=0.01),
            "max": 900.0,
        },
        "tokensIn": 10,
        "tokensOut": 5,
        "costUsd": 0.0,
        "deoptimized": {"guard": 1},
    }
    windows.forget("app")
    assert windows.window("app").count == 0
    assert windows.window("other").count == 1


def test_nothing_observed_counts_as_zero_and_has_no_latency() -> None:
    window = Windows(clock=FakeClock()).window("app", "triage")
    assert window.value("count", "requests") == window.value("rate", "calls_per_min") == 0
    assert (
        window.value("avg", "latency_ms") is window.value("p95", "latency_ms") is window.value("rate", "errors") is None
    )
    assert compile_rule("avg(latency_ms) < 500").evaluate(window) is None
    assert compile_rule("count(requests) > 600").evaluate(window) is False


def test_every_pair_that_rules_may_use_has_a_value() -> None:
    windows = Windows(clock=FakeClock())
    windows.observe("app", "triage", handler="llm", latency_ms=5, ok=True)
    window = windows.window("app", "triage")
    for function, series_names in SERIES_OF_FUNCTION.items():
        for series in series_names:
            assert window.value(function, series) is not None, (function, series)
    assert (
        window.value("p95", "tokens_in")
        is window.value("count", "nothing")
        is window.value("median", "latency_ms")
        is None
    )


@pytest.mark.parametrize("latency_ms", [0.0, -1.0, float("nan"), float("inf"), 1e300])
def test_an_odd_latency_is_held_within_bounds(latency_ms: float) -> None:
    windows = Windows(clock=FakeClock())
    windows.observe("app", "triage", handler="llm", latency_ms=latency_ms, ok=True)
    p50 = windows.window("app", "triage").value("p50", "latency_ms")
    assert p50 is not None
    assert 0 < p50 <= 1e9
