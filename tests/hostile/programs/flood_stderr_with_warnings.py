"""Warn without end, in words that cannot be sent."""

import warnings


def handle(inputs, context):
    warnings.simplefilter("always")
    for number in range(20_000):
        warnings.warn(f"{number} \ud800" + "x" * 500, stacklevel=1)
    return "done"
