"""As a test file: thousands of failures with huge words in characters that cannot be sent."""

import pytest


@pytest.mark.parametrize("number", range(500))
def test_prints(number):
    print("\ud800" * 10_000)
    raise AssertionError("\udfff" * 10_000)
