"""Ask the interpreter to end."""

import sys


def handle(inputs, context):
    sys.exit("bye")
