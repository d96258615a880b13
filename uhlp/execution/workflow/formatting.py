"""Answers that a workflow forms (`formatResponse`), and what an answer of a workflow must be."""

from collections.abc import Awaitable, Callable
from typing import Any

from uhlp.errors import ExpressionFailed, OutputInvalid
from uhlp.execution.result_format import format_problems
from uhlp.execution.workflow.outcome import Outcome
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.workflows import FormatResponse
from uhlp.workflows.value_mapping import ValueMapping


async def formatted(action: FormatResponse, value_of: Callable[[ValueMapping], Awaitable[Any]]) -> Outcome:
    """The answer in its format. Raises ExpressionFailed where it would not be one."""
    body = await value_of(action.body)
    status = None if action.status_code is None else await value_of(action.status_code)
    data: Any = body
    if action.result_format == "httpResponse":
        headers = {} if action.headers is None else await value_of(action.headers)
        data = {"statusCode": 200 if status is None else status, "headers": headers, "body": body}
        problems = format_problems("httpResponse", data)
    elif action.result_format == "error":
        problems = format_problems("error", body)
        if status is not None:
            if type(status) is not int or not 200 <= status <= 599:
                problems.append({"path": "/statusCode", "message": "must be an integer from 200 to 599"})
            data = {**body, "statusCode": status} if isinstance(body, dict) else body
    else:
        problems = []
    if problems:
        first = problems[0]
        raise ExpressionFailed(
            f"The answer is no {action.result_format} at {first['path'] or 'its top'}: {first['message']}.",
            details={"problems": problems},
        )
    return Outcome(output=data, result_format=action.result_format)


def check_answer(component: ComponentSnapshot, outcome: Outcome) -> None:
    """Raises OutputInvalid unless a workflow's answer is what its component promises; it may always be an error."""
    promised, found = component.definition.expected_result_format, outcome.result_format
    if found == "error":
        return
    if found != promised and promised != "generic":
        raise OutputInvalid(f"The workflow ends with a {found} answer; its component promises {promised}.")
    validator = component.output_validator
    problems: list[Any] = list(format_problems(found, outcome.output))
    if not problems and validator is not None and not validator.is_valid(outcome.output):
        problems = list(validator.problems(outcome.output))
    if problems:
        first = problems[0]
        raise OutputInvalid(
            f"The workflow's answer is not valid at {first['path'] or 'its top'}: {first['message']}",
            details={"problems": problems},
        )
