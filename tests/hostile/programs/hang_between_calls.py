"""Behave in a call, and hang while nobody has called, when a module is made ready for the next."""

from uhlp_runtime import ToolFailed, call_tool

try:
    call_tool("look", {})
except ToolFailed:
    while True:
        pass


def handle(inputs, context):
    return "behaves"
