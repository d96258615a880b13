"""Sleep in C and keep every other thread of the interpreter waiting."""

import ctypes


def handle(inputs, context):
    ctypes.PyDLL(None).sleep(600)
