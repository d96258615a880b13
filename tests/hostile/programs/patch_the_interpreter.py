"""Change the interpreter in memory: small numbers, the type of a list, a builtin."""

import builtins
import ctypes


def handle(inputs, context):
    builtins.len = lambda _: 0
    builtins.isinstance = lambda *_: True
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(list))
    ctypes.c_long.from_address(id(257) + 24).value = 5
    ctypes.memset(id("a text that nobody else holds") + 48, 0x41, 4)
    return "honest"
