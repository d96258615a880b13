"""Windows give the numbers of the last seconds, minutes or weeks, as a naive recorder would."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.metrics.naive_recorder import WINDOWS_S, NaiveRecorder, gaps, latencies
from uhlp.clock import FakeClock
from uhlp.expressions import SERIES_OF_FUNCTION, compile_rule
from uhlp.metrics import Windows
from uhlp.metrics.quantile_sketch import MAX_VALUE, MIN_VALUE, MOST_BINS, QuantileSketch, bin_of
from uhlp.metrics.slot import Slot
from uhlp.metrics.window_history import SCALES


@given(st.lists(latencies, min_size=1, max_size=200), st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_errs_by_at_most_one_percent(values: list[float], q: float) -> None:
    bins: dict[int, int] = {}
    for value in values:
        bins[bin_of(value)] = bins.get(bin_of(value), 0) + 1
    estimate = QuantileSketch(bins).quantile(q)
    assert estimate is not None
    ranked = sorted(values)
    below, above = ranked[math.floor(q * (len(values) - 1))], ranked[math.ceil(q * (len(values) - 1))]
    assert below * 0.99 - 1e-12 <= estimate <= above * 1.01 + 1e-12
    assert len(bins) <= MOST_BINS == bin_of(MAX_VALUE) - bin_of(MIN_VALUE) + 1


def slot_of(observed: list[tuple[float, bool, int, str]]) -> Slot:
    slot = Slot(7)
    for latency_ms, ok, tokens, reason in observed:
        slot.count += 1
        slot.errors += not ok
        slot.latency_ms += latency_ms
        slot.min_latency_ms = min(slot.min_latency_ms, latency_ms)
        slot.max_latency_ms = max(slot.max_latency_ms, latency_ms)
        slot.tokens_in += tokens
        slot.bins[bin_of(latency_ms)] = slot.bins.get(bin_of(latency_ms), 0) + 1
        if reason:
            slot.deoptimized = {**(slot.deoptimized or {}), reason: (slot.deoptimized or {}).get(reason, 0) + 1}
    return slot


def figures(slot: Slot) -> dict[str, object]:
    return {name: getattr(slot, name) for name in Slot.__slots__ if name != "latency_ms"}


observations = st.lists(
    st.tuples(latencies, st.booleans(), st.integers(0, 2**40), st.sampled_from(["", "guard", "timeout"])), max_size=30
)


@given(observations, observations, observations)
def test_slots_merge_in_any_order_and_packed_as_well_as_open(a: list, b: list, c: list) -> None:
    at_once = slot_of([*a, *b, *c])
    left = Slot(7).merge(slot_of(a)).merge(slot_of(b)).merge(slot_of(c))
    right = Slot(7).merge(slot_of(c)).merge_packed(Slot(7).merge(slot_of(b)).merge_packed(slot_of(a).pack()).pack())
    assert figures(left) == figures(right) == figures(at_once)
    assert left.latency_ms == pytest.approx(right.latency_ms)


@given(st.integers(0, 2**31 - 1), st.dictionaries(st.integers(-344, 1037), st.sampled_from([1, 255, 256, 65_536])))
def test_a_packed_slot_holds_any_count_in_any_bin(number: int, bins: dict[int, int]) -> None:
    slot = Slot(number)
    slot.bins, slot.count = bins, sum(bins.values())
    assert figures(Slot(number).merge_packed(slot.pack())) == figures(slot)


executions = st.lists(
    st.tuples(gaps, latencies, st.booleans(), st.sampled_from(["llm", "jit"]), st.integers(0, 500)), max_size=60
)


@given(executions, st.sampled_from(WINDOWS_S), st.sampled_from([None, "llm", "jit"]))
def test_a_window_equals_a_naive_recorder(
    done: list[tuple[float, float, bool, str, int]], window_s: int, handler: str | None
) -> None:
    clock = FakeClock()
    windows, recorder = Windows(clock=clock), NaiveRecorder(clock)
    for gap, latency_ms, ok, by, tokens in done:
        clock.advance(gap)
        recorder.observe(windows, handler=by, latency_ms=latency_ms, ok=ok, tokens_in=tokens)
    recorder.check(windows, window_s, handler)


@given(st.lists(st.tuples(gaps, latencies), max_size=25), st.lists(st.sampled_from(WINDOWS_S), min_size=1, max_size=3))
def test_asking_in_between_changes_no_answer(done: list[tuple[float, float]], lengths: list[int]) -> None:
    clock = FakeClock()
    windows, recorder = Windows(clock=clock), NaiveRecorder(clock)
    for gap, latency_ms in done:
        clock.advance(gap)
        for window_s in lengths:
            recorder.check(windows, window_s, None)
        recorder.observe(windows, handler="llm", latency_ms=latency_ms, ok=True)
        for window_s in lengths:
            recorder.check(windows, window_s, None)


@pytest.mark.parametrize("scale", SCALES)
def test_at_the_border_of_slots_nothing_is_counted_twice_or_lost(scale: tuple[int, int]) -> None:
    slot_s, reach_s = scale
    clock = FakeClock(1_750_000_000.0 - 1_750_000_000.0 % slot_s)
    windows, recorder = Windows(clock=clock), NaiveRecorder(clock)
    for step in (0, slot_s - 1, 1, slot_s, slot_s - 1, 1, 3 * slot_s):
        clock.advance(step)
        recorder.observe(windows, handler="llm", latency_ms=1.0, ok=True)
    for back in (slot_s, 2 * slot_s, 3 * slot_s, 5 * slot_s, reach_s):
        recorder.check(windows, max(back, 30), None)
    clock.advance(reach_s - slot_s)
    recorder.check(windows, reach_s, None)
    clock.advance(slot_s)
    assert windows.window("app", "triage", reach_s).count == 0


def test_a_component_that_is_called_once_a_day_has_its_month() -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    for day in range(40):
        windows.observe("app", "triage", handler="llm", latency_ms=1000.0 + day, ok=True, tokens_in=10)
        clock.advance(86_400)
    month = windows.window("app", "triage", 35 * 86_400)
    assert (month.count, month.value("sum", "tokens_in"), month.value("min", "latency_ms")) == (34, 340, 1006.0)
    assert compile_rule("count(requests) > 30 && p50(latency_ms) > 1000").evaluate(month) is True


def test_time_follows_the_clock_forward_and_never_back() -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    windows.observe("app", "triage", handler="llm", latency_ms=1.0, ok=True)
    clock._now -= 7_200
    windows.follow_clock()
    clock.advance(20)
    windows.observe("app", "triage", handler="llm", latency_ms=1.0, ok=True)
    assert windows.window("app", "triage").count == 2
    clock._now += 7_200 + 600
    windows.follow_clock()
    assert windows.window("app", "triage").count == 0
    assert windows.window("app", "triage", 3_600).count == 2


def test_series_without_number_are_refused_and_counted() -> None:
    windows = Windows(clock=FakeClock(), most_series=2)
    for component_id in ("a", "b", "c", "c", "a"):
        windows.observe("app", component_id, handler="llm", latency_ms=1.0, ok=True)
    assert windows.window("app").count == 3
    assert windows.dropped["observations"] == 2


def test_what_is_out_of_reach_takes_no_memory() -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    windows.observe("app", "triage", handler="llm", latency_ms=1.0, ok=True)
    clock.advance(34 * 86_400)
    windows.settle(("app", "triage", "llm"))
    assert windows.series() == [("app", "triage", "llm")]
    clock.advance(86_400)
    windows.settle(("app", "triage", "llm"))
    assert windows.series() == []


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
            "sum": 902.0,
            "min": 2.0,
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


@pytest.mark.parametrize(("window_s", "points"), [(300, 30), (900, 45), (3_600, 60), (86_400, 96)])
def test_a_curve_is_the_window_cut_into_pieces(window_s: int, points: int) -> None:
    clock = FakeClock()
    windows = Windows(clock=clock)
    for second in range(2 * 3_600):
        clock.advance(1)
        if second % 7 == 0:
            windows.observe("shop", "echo", handler="llm", latency_ms=float(second % 50 + 1), ok=second % 2 == 0)
    curve = windows.curve("shop", "echo", window_s=window_s, points=points)
    assert len(curve) == points
    asked_s = sum(window.window_s for window in curve)
    whole = windows.window("shop", "echo", asked_s)
    assert sum(window.count for window in curve) == whole.count
    assert sum(window.value("sum", "errors") or 0 for window in curve) == whole.value("sum", "errors")
    full = next(window for window in reversed(curve[:-1]) if window.count)
    assert full.value("rate", "calls_per_min") == pytest.approx(60 / 7, rel=0.5)
    assert [window.count for window in windows.curve("shop", "other", window_s=window_s, points=points)] == [0] * points
