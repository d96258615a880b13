"""Overflow the stack of C."""

import sys


def handle(inputs, context):
    sys.setrecursionlimit(10**9)
    value = []
    for _ in range(10**6):
        value = [value]
    return repr(value)
