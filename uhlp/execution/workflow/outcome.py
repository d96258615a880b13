"""Outcome: how a step, a block or a run ended, and the errors in it."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from uhlp import strict_json
from uhlp.errors import ExpressionFailed, UhlpError, WorkflowFailed
from uhlp.execution.workflow.records import StepRecord
from uhlp.tools.session import Usage

_LONGEST_CODE, _LONGEST_MESSAGE = 200, 1_000
_MOST_DETAIL_BYTES = 8 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An output, or an `error` {code, message, details, retryable}.

    `implementation` and `usage` are of what answered.
    """

    output: Any = None
    result_format: str = "generic"
    error: dict[str, Any] | None = None
    implementation: str | None = None
    usage: Usage = field(default_factory=Usage)

    @property
    def code(self) -> str:
        return "" if self.error is None else str(self.error["code"])


def outcome_of(step: StepRecord) -> Outcome:
    """How an attempt that has ended has ended."""
    return Outcome(
        output=step.output, result_format=step.result_format, error=step.error, implementation=step.implementation
    )


def failed(error: UhlpError) -> Outcome:
    """The outcome of what raised `error`."""
    return failed_with(error.code, error.message, details=error.details, is_retryable=error.retryable)


def failed_with(
    code: str, message: str, *, details: dict[str, Any] | None = None, is_retryable: bool = False
) -> Outcome:
    """An outcome with an error of these parts, which a component may have chosen: texts are cut, details that are too
    large are left out."""
    try:
        kept = details if details and len(strict_json.dumps(details)) <= _MOST_DETAIL_BYTES else {}
    except TypeError:
        kept = {}
    message = message[:_LONGEST_MESSAGE]
    return Outcome(error={"code": code[:_LONGEST_CODE], "message": message, "details": kept, "retryable": is_retryable})


def naming_its_step(outcome: Outcome, step_id: str) -> Outcome:
    """The outcome of a step; what is wrong with an expression says in which step it stands."""
    error = outcome.error
    if error is None or error["code"] != ExpressionFailed.code or "stepId" in error["details"]:
        return outcome
    message, details = f"Step {step_id}: {error['message']}", {**error["details"], "stepId": step_id}
    return replace(outcome, error={**error, "message": message[:_LONGEST_MESSAGE], "details": details})


def error_of(error: dict[str, Any], *, execution_id: str, is_final: bool = False) -> UhlpError:
    """What is answered for a run that failed with `error`: the same error where the tree has its code, so that a caller
    sees what a step of its own would have told it. `is_final`: nobody is to try again, whatever the error says."""
    leaf = WorkflowFailed if is_final else _leaves().get(error["code"], WorkflowFailed)
    details = {**error["details"], "executionId": execution_id}
    if leaf is WorkflowFailed:
        return WorkflowFailed(f"{error['code']}: {error['message']}", details={**details, "failure": error["code"]})
    return leaf(error["message"], details=details)


@cache
def _leaves() -> dict[str, type[UhlpError]]:
    def below(tree: type[UhlpError]) -> Iterator[type[UhlpError]]:
        for leaf in tree.__subclasses__():
            yield leaf
            yield from below(leaf)

    found: dict[str, type[UhlpError]] = {}
    for leaf in below(UhlpError):
        if leaf.status >= 429:  # a refusal of a step's request is a fault of the workflow, not of its caller's
            found.setdefault(leaf.code, leaf)
    return found
