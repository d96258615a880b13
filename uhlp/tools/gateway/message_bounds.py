"""How much one message of an MCP server may hold, asked before the SDK reads it.

Reading holds up the whole server: a few megabytes of empty lists take seconds, and a second for some ten thousand
blocks that are none, as the SDK collects every problem of each.
"""

from typing import Any

from uhlp import strict_json
from uhlp.errors import MalformedJson
from uhlp.sandbox.value_count import holds_too_many_values

MOST_VALUES = 50_000
MOST_ENTRIES = 1_000
"""Blocks of a result, and tools of one page."""

_LISTS = ("content", "tools")


def beyond_bounds(raw: bytes | bytearray) -> str | None:
    """Why this text is not read; None for one that may be."""
    if holds_too_many_values(raw, MOST_VALUES):
        return f"its answer holds more than {MOST_VALUES} values"
    if raw.count(b"{") <= MOST_ENTRIES:
        return None
    try:
        message: Any = strict_json.loads(bytes(raw))
    except MalformedJson:  # the SDK might read it all the same: of equal names the last, NaN, any depth
        return "its answer is not strict JSON"
    result = message.get("result") if isinstance(message, dict) else None
    told: dict[str, Any] = result if isinstance(result, dict) else {}
    for name in _LISTS:
        entries = told.get(name)
        if isinstance(entries, list) and len(entries) > MOST_ENTRIES:
            return f"its answer holds more than {MOST_ENTRIES} entries of {name}"
    return None
