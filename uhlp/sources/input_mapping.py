"""What a listener takes from what came: `inputMapping` of its trigger, CEL over `trigger`."""

import asyncio
from collections.abc import Mapping
from time import perf_counter
from typing import Any

from uhlp.errors import ExpressionFailed, InputInvalid, TooManyRequests
from uhlp.expressions import compile_workflow_expression
from uhlp.expressions.expression_share import ExpressionShare


async def mapped_input(
    app_id: str, mapping: Mapping[str, str], values: Any, details: Mapping[str, Any], *, share: ExpressionShare
) -> Any:
    """The input that the expressions make of it; what came itself, where there are none.

    Raises InputInvalid where one cannot be evaluated: what came is not what the listener was written for; and
    TooManyRequests while expressions of the application have taken more than their share.
    """
    if not mapping:
        return values
    if owed_s := share.owed_s(app_id):
        raise TooManyRequests(f"The expressions of {app_id} compute too much: send it later.", retry_after_s=owed_s)
    began = perf_counter()
    try:
        return await asyncio.to_thread(_evaluated, mapping, {"trigger": {"input": values, "details": dict(details)}})
    finally:
        share.take(app_id, perf_counter() - began)


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
