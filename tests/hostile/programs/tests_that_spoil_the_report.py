"""As a test file: replace what is counted by what cannot be."""

import gc

for found in gc.get_objects():
    if type(found).__name__ == "_Counts":
        found.passed, found.failed, found.errors, found.failures = 1, -5, "none", gc


def test_that_passes():
    pass
