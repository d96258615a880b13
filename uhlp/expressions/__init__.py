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

__all__ = ["SERIES_OF_FUNCTION", "Judgement", "RuleExpression", "WindowValues", "compile_rule"]
