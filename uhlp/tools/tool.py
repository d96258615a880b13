"""Tool: one thing that can be called, with the schemas of what it takes and gives."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from uhlp.tools.context import ToolContext

JsonObject: TypeAlias = dict[str, Any]
Run = Callable[[JsonObject, ToolContext], Awaitable[JsonObject]]


@dataclass(frozen=True, slots=True)
class Tool:
    """`run` gets arguments that match `input_schema` and gives a result that matches `output_schema`.

    `annotations` are MCP's hints (`readOnlyHint`, `idempotentHint`, …). One that `changes_state` runs in executions
    whose answer somebody gets, and in no other.
    """

    name: str
    description: str
    input_schema: JsonObject
    output_schema: JsonObject
    run: Run
    annotations: JsonObject = field(default_factory=dict)
    changes_state: bool = False

    def described(self) -> JsonObject:
        """As MCP lists a tool."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": self.annotations,
        }


def arguments(required: list[str], **properties: JsonObject) -> JsonObject:
    """The schema of an object of these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
