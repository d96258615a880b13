"""Expressions of workflows: CEL over what a run knows (`trigger`, `steps`, `context`, `workflow`), giving JSON."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import ExpressionFailed, ExpressionInvalid
from uhlp.expressions import cel_library

MAX_SOURCE_LENGTH = 2_000


class WorkflowExpression:
    """One compiled expression. Evaluating it has no side effect."""

    __slots__ = ("_program", "source")

    def __init__(self, source: str, program: Any) -> None:
        self.source = source
        self._program = program

    def evaluate(self, names: Mapping[str, Any]) -> Any:
        """The JSON value that it gives. Raises ExpressionFailed."""
        try:
            return self._program.execute(cel_library.Context(dict(names)))
        except Exception as error:
            raise ExpressionFailed(f"{self.source}: {error}", details={"expression": self.source}) from None

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Whether it gives true. Raises ExpressionFailed, also where it gives no truth value."""
        value = self.evaluate(names)
        if not isinstance(value, bool):
            raise ExpressionFailed(f"{self.source}: it gives no truth value", details={"expression": self.source})
        return value


def compile_workflow_expression(source: str) -> WorkflowExpression:
    """Compile and check an expression. Raises ExpressionInvalid."""
    if len(source) > MAX_SOURCE_LENGTH:
        raise ExpressionInvalid(f"The expression is longer than {MAX_SOURCE_LENGTH} characters.")
    try:
        return WorkflowExpression(source, cel_library.compile_source(source))
    except ValueError as error:
        raise ExpressionInvalid(f"The expression is not valid: {error}") from None
