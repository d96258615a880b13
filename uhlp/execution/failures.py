"""From what went wrong to a reason and an error that an edge may answer with.

A sandbox states codes and messages; the error itself is made here, or is the one a tool raised on the host.
"""

from typing import Any

from uhlp.errors import (
    BadModelAnswer,
    DeadlineExceeded,
    ExecutionFailed,
    HandlerFailed,
    OutputInvalid,
    PayloadTooLarge,
    SandboxOutOfMemory,
    UhlpError,
)
from uhlp.execution.call import ExecutionCall, ExecutionResult, FailureReason, PromptImplementation

Failure = tuple[FailureReason, UhlpError]

_MESSAGE_LIMIT = 200
"""Characters of a sandbox's own words that leave the server: they may hold anything that the code has seen."""


def failure_of_sandbox(error: UhlpError) -> Failure:
    """What `SandboxManager.execute` raised."""
    if isinstance(error, DeadlineExceeded):
        return "timeout", error
    if isinstance(error, SandboxOutOfMemory):
        return "oom", error
    if isinstance(error, OutputInvalid):
        return "schema", error
    return "sandbox", error


def failure_of_response(call: ExecutionCall, response: dict[str, Any], last_error: UhlpError | None) -> Failure | None:
    """None when the response carries data. `last_error` is the last one a tool raised for this execution: where the
    sandbox states its code, the failure is that error, with the details and the status that only the host knows."""
    result_type = response["resultType"]
    if result_type in ("generic", call.component.definition.expected_result_format) and result_type != "error":
        return None
    is_prompt = isinstance(call.implementation, PromptImplementation)
    if result_type != "error":
        return "sandbox", ExecutionFailed(f"The sandbox answered with a {result_type} where a result was asked for.")
    code, message = _stated(response["data"])
    if last_error is not None and last_error.code == code:
        if not is_prompt:
            return "exception", last_error
        return "timeout" if isinstance(last_error, DeadlineExceeded) else "model", last_error
    if code == SandboxOutOfMemory.code:
        return "oom", SandboxOutOfMemory()
    if code == OutputInvalid.code:
        return "schema", OutputInvalid(message)
    if code == BadModelAnswer.code and is_prompt:
        return "model", BadModelAnswer(message)
    if code == PayloadTooLarge.code and is_prompt:
        return "exception", PayloadTooLarge(message)
    return "exception", HandlerFailed(message)


def failure_of_schema(call: ExecutionCall, problems: list[Any]) -> Failure:
    """The answer is not what the component promises."""
    first = problems[0]
    message = f"The answer is not valid at {first['path'] or 'its top'}: {first['message']}"
    leaf = BadModelAnswer if isinstance(call.implementation, PromptImplementation) else OutputInvalid
    return "schema", leaf(message, details={"problems": problems})


def may_be_its_own(result: ExecutionResult) -> bool:
    """Whether a prompt's execution failed by what the prompt made of it: the model's answer is of no use, or none came
    out. That a model or a sandbox could not be asked, or gave no answer in time, says nothing about a prompt.
    """
    if result.outcome != "failed":
        return False
    return result.failure in ("schema", "exception") or isinstance(result.error, BadModelAnswer)


def _stated(data: object) -> tuple[str, str | None]:
    """Code and message of an `error` result; a sandbox may put anything there."""
    if not isinstance(data, dict):
        return "", None
    code, message = data.get("code"), data.get("message")
    return (
        code if isinstance(code, str) else "",
        message[:_MESSAGE_LIMIT] if isinstance(message, str) and message else None,
    )
