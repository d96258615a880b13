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

    async def evaluate(self, of_expression: Callable[[WorkflowExpression], Awaitable[Any]]) -> Any:
        """The JSON value, with what `of_expression` gives for each expression: the event loop may turn between two of
        them. Parts are shared with what it gives, so the value is not to be changed."""
        return await _evaluated(self.node, of_expression)


async def _evaluated(node: Node, of_expression: Callable[[WorkflowExpression], Awaitable[Any]]) -> Any:
    if isinstance(node, WorkflowExpression):
        return await of_expression(node)
    if isinstance(node, Literal):
        return node.value
    if isinstance(node, tuple):
        return [await _evaluated(item, of_expression) for item in node]
    return {key: await _evaluated(item, of_expression) for key, item in node.items()}
