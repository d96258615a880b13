"""Hang in the regular expression engine, which no signal handler of Python interrupts."""

import re


def handle(inputs, context):
    return bool(re.match("(a+)+$", "a" * 64 + "b"))
