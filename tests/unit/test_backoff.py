"""Back-off: pauses grow with failures in a row, up to their bound, however many there are."""

import pytest

from uhlp.backoff import backoff_s


@pytest.mark.parametrize(
    ("failures", "factor", "pause_s"),
    [(1, 2.0, 0.5), (2, 2.0, 1.0), (4, 2.0, 4.0), (8, 2.0, 30.0), (10**9, 2.0, 30.0), (3, 4.0, 8.0), (5, 1.0, 0.5)],
)
def test_each_failure_in_a_row_lengthens_the_pause_up_to_its_bound(
    failures: int, factor: float, pause_s: float
) -> None:
    assert backoff_s(failures, first_s=0.5, longest_s=30.0, factor=factor) == pause_s
