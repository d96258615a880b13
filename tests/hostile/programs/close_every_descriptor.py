"""Close all that is open."""

import os


def handle(inputs, context):
    os.closerange(0, 256)
    return "honest"
