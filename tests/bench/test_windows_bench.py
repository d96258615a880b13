"""The bench of windows and rules runs and prints its figures; no time is asserted."""

import pytest

from tests.bench import windows


@pytest.mark.long
def test_windows_queries_rules_and_their_keeping_are_measured(capsys):
    with capsys.disabled():
        print()
        results = windows.run(rounds=3)
    assert set(windows.GOALS) <= set(results)
    assert all(value > 0 for value in results.values())
