"""Open files until no more can be opened."""

import os


def handle(inputs, context):
    try:
        while True:
            os.dup(0)
    except OSError:
        return "honest"
