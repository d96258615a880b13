"""The newest latencies and their quantiles."""

from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uhlp.evolution.recent_latencies import RecentLatencies


def test_without_a_value_there_is_no_quantile():
    latencies = RecentLatencies()

    assert (latencies.p50_ms, latencies.p99_ms, list(latencies)) == (None, None, [])


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=2, max_size=60))
def test_quantiles_are_those_of_the_newest_values(values):
    latencies = RecentLatencies(values, kept=20)
    newest = [round(value, 3) for value in values[-20:]]

    assert list(latencies) == newest
    assert latencies.p50_ms == pytest.approx(median(newest))
    assert latencies.p99_ms == pytest.approx(quantiles(newest, n=100, method="inclusive")[98])
