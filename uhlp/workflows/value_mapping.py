"""ValueMapping: how a step's input, arguments or answer is made of what came before."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from uhlp.expressions import WorkflowExpression


@dataclass(frozen=True, slots=True)
class Literal:
    """A value as it was written."""

    value: Any


Node: TypeAlias = "WorkflowExpression | Literal | tuple[Node, ...] | Mapping[str, Node]"


@dataclass(frozen=True, slots=True)
class ValueMapping:
    """A JSON value with expressions in it, compiled."""

    node: Node

    def evaluate(self, names: Mapping[str, Any]) -> Any:
        """The JSON value; `names` as plan.py lists them. Parts are shared with `names`, so it is not to be changed.

        Raises ExpressionFailed, which names the expression, where one cannot be evaluated.
        """
        return _evaluated(self.node, names)

    async def evaluate_each(self, evaluate: Callable[[WorkflowExpression], Awaitable[Any]]) -> Any:
        """The same, with `evaluate` for each expression: the event loop may turn between two of them."""
        return await _evaluated_each(self.node, evaluate)


def _evaluated(node: Node, names: Mapping[str, Any]) -> Any:
    if isinstance(node, WorkflowExpression):
        return node.evaluate(names)
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, tuple):
        return [_evaluated(item, names) for item in node]
    return {key: _evaluated(item, names) for key, item in node.items()}


async def _evaluated_each(node: Node, evaluate: Callable[[WorkflowExpression], Awaitable[Any]]) -> Any:
    if isinstance(node, WorkflowExpression):
        return await evaluate(node)
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, tuple):
        return [await _evaluated_each(item, evaluate) for item in node]
    return {key: await _evaluated_each(item, evaluate) for key, item in node.items()}
