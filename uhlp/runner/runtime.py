"""The `uhlp_runtime` module: all that generated code may ask of UHLP."""

from collections.abc import Callable
from typing import Any


class Deoptimize(Exception):
    """Raise it for any input the handler was not built for; the model then answers this request."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class ToolFailed(Exception):
    """A tool call was refused or failed; `code` is UHLP's error code, `retryable` its word on trying again."""

    def __init__(self, code: str, message: str, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retryable = retryable


def _no_call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    raise ToolFailed("TOOL_NOT_FOUND", f"{name}: tools can only be called while the handler runs")


_calls: list[Callable[[str, dict[str, Any]], dict[str, Any]]] = [_no_call]


def call_tool(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call a tool that the component may use, and wait for its result; raises ToolFailed."""
    return _calls[-1](name, arguments)


def record_metric(record: dict[str, Any]) -> None:
    """Record one metric (`app.custom.*`, seed 001's record) through the tool core.metrics.record."""
    call_tool("core.metrics.record", record)
