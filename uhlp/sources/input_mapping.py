"""What a listener takes from what came: `inputMapping` of its trigger, CEL over `trigger`."""

import asyncio
from collections.abc import Mapping
from typing import Any

from uhlp.errors import ExpressionFailed, InputInvalid
from uhlp.expressions import compile_workflow_expression


async def mapped_input(mapping: Mapping[str, str], values: Any, details: Mapping[str, Any]) -> Any:
    """The input that the expressions make of it; what came itself, where there are none.

    Raises InputInvalid where one cannot be evaluated: what came is not what the listener was written for.
    """
    if not mapping:
        return values
    return await asyncio.to_thread(_evaluated, mapping, {"trigger": {"input": values, "details": dict(details)}})


def _evaluated(mapping: Mapping[str, str], names: Mapping[str, Any]) -> dict[str, Any]:
    made, problems = {}, []
    for field, source in mapping.items():
        try:
            made[field] = compile_workflow_expression(source).evaluate(names)
        except ExpressionFailed as error:
            problems.append({"path": f"/{field}", "message": error.message})
    if problems:
        raise InputInvalid("The input does not fit the inputMapping of the listener.", details={"problems": problems})
    return made
