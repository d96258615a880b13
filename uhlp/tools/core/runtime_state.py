"""core.state.*RuntimeValue: JSON values that the calling application keeps by key (seed 003 §3.3.4)."""

from typing import Any, Protocol

from uhlp.state.runtime_store import RuntimeValue
from uhlp.tools.context import ToolContext
from uhlp.tools.tool import JsonObject, Tool, arguments

MOST_STEP = 2**53 - 1
"""Every JSON library reads such a number as it was written."""

_KEY: JsonObject = {"type": "string", "minLength": 1, "maxLength": 400}
_SECONDS: JsonObject = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 3_155_760_000}
_REPLACES: JsonObject = {"readOnlyHint": False, "destructiveHint": True, "openWorldHint": False}
_ADDS: JsonObject = {"readOnlyHint": False, "destructiveHint": False, "openWorldHint": False}


class RuntimeValues(Protocol):
    """What these tools need of the StateManager."""

    async def set_runtime_value(self, app_id: str, key: str, value: Any, ttl_seconds: float | None = None) -> None: ...
    async def get_runtime_value(self, app_id: str, key: str) -> RuntimeValue: ...
    async def delete_runtime_value(self, app_id: str, key: str) -> bool: ...
    async def increment_runtime_value(self, app_id: str, key: str, by: int = 1) -> int: ...


class RuntimeState:
    """The values of the caller's application, and no other's."""

    def __init__(self, *, state: RuntimeValues) -> None:
        self._state = state

    def tools(self) -> tuple[Tool, ...]:
        """The four of them, as `CoreMCPServer` takes them."""
        return (
            Tool(
                name="core.state.getRuntimeValue",
                description="The value that the application keeps under a key.",
                input_schema=arguments(["key"], key=_KEY),
                output_schema=arguments(["found", "value"], found={"type": "boolean"}, value={}),
                run=self.get,
                annotations={"readOnlyHint": True, "openWorldHint": False},
            ),
            Tool(
                name="core.state.setRuntimeValue",
                description="Keep a JSON value under a key, for ever or for ttlSeconds.",
                input_schema=arguments(["key", "value"], key=_KEY, value={}, ttlSeconds=_SECONDS),
                output_schema=arguments(["key"], key={"type": "string"}),
                run=self.set,
                annotations={**_REPLACES, "idempotentHint": True},
                changes_state=True,
            ),
            Tool(
                name="core.state.deleteRuntimeValue",
                description="Remove what the application keeps under a key.",
                input_schema=arguments(["key"], key=_KEY),
                output_schema=arguments(["found"], found={"type": "boolean"}),
                run=self.delete,
                annotations={**_REPLACES, "idempotentHint": True},
                changes_state=True,
            ),
            Tool(
                name="core.state.incrementRuntimeValue",
                description="Add to an integer, atomically; a key that is not there counts as 0.",
                input_schema=arguments(
                    ["key"],
                    key=_KEY,
                    by={"type": "integer", "minimum": -MOST_STEP, "maximum": MOST_STEP, "default": 1},
                ),
                output_schema=arguments(["value"], value={"type": "integer"}),
                run=self.increment,
                annotations=_ADDS,
                changes_state=True,
            ),
        )

    async def get(self, given: JsonObject, context: ToolContext) -> JsonObject:
        value = await self._state.get_runtime_value(context.app_id, given["key"])
        return {"found": value.found, "value": value.value}

    async def set(self, given: JsonObject, context: ToolContext) -> JsonObject:
        await self._state.set_runtime_value(context.app_id, given["key"], given["value"], given.get("ttlSeconds"))
        return {"key": given["key"]}

    async def delete(self, given: JsonObject, context: ToolContext) -> JsonObject:
        return {"found": await self._state.delete_runtime_value(context.app_id, given["key"])}

    async def increment(self, given: JsonObject, context: ToolContext) -> JsonObject:
        by = int(given.get("by", 1))  # 2.0 is an integer to JSON Schema
        return {"value": await self._state.increment_runtime_value(context.app_id, given["key"], by)}
