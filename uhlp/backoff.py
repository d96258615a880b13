"""Back-off: how long to leave alone what failed, longer after each failure in a row."""

_MOST_STEPS = 60
"""Of growth; a float holds no power of any number of failures."""


def backoff_s(failures: int, *, first_s: float, longest_s: float, factor: float = 2.0) -> float:
    """Seconds to wait after the `failures`-th failure in a row, the first of which is 1."""
    return min(first_s * factor ** min(max(failures - 1, 0), _MOST_STEPS), longest_s)
