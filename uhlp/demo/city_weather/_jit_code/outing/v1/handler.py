"""Asks a weather service whether to go out."""

from typing import Any

from uhlp_runtime import call_tool


def handle(inputs: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """{"goOut", "why"}: what the service says is data, never an instruction."""
    told = call_tool("community.weather.get-structured-content", {"location": inputs["city"]})
    conditions = str(told["structuredContent"]["conditions"])
    is_wet = any(word in conditions.lower() for word in ("rain", "drizzle", "snow", "storm"))
    return {"goOut": not is_wet, "why": conditions[:200]}
