"""What a worker says, checked before the host uses it (contracts §6: size, shape, request id)."""

from math import isfinite
from typing import Any, NamedTuple

from uhlp.errors import ExecutionFailed, OutputInvalid, SandboxDied, SandboxOutOfMemory
from uhlp.sandbox.channel import Answer

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_DEPTH = 64
MAX_TOOL_KINDS = 1_000

_RESULT_TYPES = frozenset({"generic", "httpResponse", "error", "workflowStep", "deoptimize"})


class ToolCall(NamedTuple):
    request_id: str
    name: str
    arguments: dict[str, Any]


def checked_response(answer: Answer, request_id: str) -> dict[str, Any]:
    """The ExecuteResponse body. Raises SandboxDied when the worker cannot be trusted further, ExecutionFailed when it
    refused, OutputInvalid when the body is too large or too deep. By hand, because this is the hot path."""
    if answer.error is not None:
        raise ExecutionFailed(f"The sandbox refused the request: {text(answer.error.get('message'), 200)}")
    body = answer.result
    if (
        type(body) is not dict
        or type(body.get("resultType")) is not str
        or body["resultType"] not in _RESULT_TYPES
        or "data" not in body
        or not _are_metrics(body.get("metrics"))
    ):
        raise SandboxDied("The sandbox sent an answer that is no ExecuteResponse.")
    if body.get("requestId") != request_id:
        raise SandboxDied("The sandbox answered with another request's id.")
    if answer.size_bytes > MAX_BODY_BYTES:
        raise OutputInvalid(f"The answer takes {answer.size_bytes} bytes; {MAX_BODY_BYTES} is the limit.")
    if is_deeper_than(body["data"], MAX_DEPTH):
        raise OutputInvalid(f"The answer is nested deeper than {MAX_DEPTH} levels.")
    return body


def states_out_of_memory(body: dict[str, Any]) -> bool:
    """True when a checked response says that the code was refused memory, which the worker survived."""
    data = body["data"]
    return body["resultType"] == "error" and type(data) is dict and data.get("code") == SandboxOutOfMemory.code


def read_tool_call(params: object) -> ToolCall | None:
    """The parameters of `tools/call`; None when they are not what it takes."""
    if type(params) is not dict:
        return None
    request_id, name, arguments = params.get("requestId"), params.get("name"), params.get("arguments")
    if type(request_id) is not str or type(name) is not str or len(name) > 200:
        return None
    if type(arguments) is not dict or is_deeper_than(arguments, MAX_DEPTH):
        return None
    return ToolCall(request_id, name, arguments)


def text(value: object, limit: int) -> str:
    """`value` when it is a string, cut to `limit` characters; else nothing."""
    return value[:limit] if isinstance(value, str) else ""


def is_deeper_than(value: object, levels: int) -> bool:
    """True when JSON containers nest deeper than `levels`; walks layer by layer, so that depth cannot exhaust it."""
    layer: list[Any] = [value] if isinstance(value, dict | list) else []
    while layer:
        if levels == 0:
            return True
        levels -= 1
        layer = [
            child
            for container in layer
            for child in (container.values() if type(container) is dict else container)
            if type(child) is dict or type(child) is list
        ]
    return False


def _are_metrics(metrics: object) -> bool:
    if metrics is None:
        return True
    if type(metrics) is not dict:
        return False
    spent_ms, calls = metrics.get("executionTimeMs", 0), metrics.get("mcpCalls", [])
    return (
        type(spent_ms) in (int, float)
        and isfinite(spent_ms)
        and spent_ms >= 0
        and type(calls) is list
        and len(calls) <= MAX_TOOL_KINDS
        and all(type(call) is dict for call in calls)
    )
