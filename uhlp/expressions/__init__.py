"""CEL expressions: compiled and checked once, evaluated in microseconds.

The only home of common-expression-language.
"""

from uhlp.expressions.rule import (
    SERIES_OF_FUNCTION,
    Judgement,
    RuleExpression,
    WindowValues,
    compile_rule,
)
from uhlp.expressions.workflow_expression import WorkflowExpression, compile_workflow_expression

__all__ = [
    "SERIES_OF_FUNCTION",
    "Judgement",
    "RuleExpression",
    "WindowValues",
    "WorkflowExpression",
    "compile_rule",
    "compile_workflow_expression",
]
