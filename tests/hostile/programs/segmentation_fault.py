"""Read address 0."""

import ctypes


def handle(inputs, context):
    return ctypes.string_at(0)
