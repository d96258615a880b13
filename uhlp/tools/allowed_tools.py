"""Which tools a component may use: what its `tools[]` say, in words that a definition may use."""

from collections.abc import Collection, Mapping
from typing import Any

from uhlp.registry.tool_names import is_listed
from uhlp.tools.core.metrics_record import METRICS_RECORD

ALWAYS_ALLOWED = frozenset({METRICS_RECORD})
"""Provided to every handler without being listed among its component's tools (contracts §5)."""

_TOOL = "tool:"


def is_allowed(name: str, allowed_tools: Collection[str]) -> bool:
    """Whether a component that lists `allowed_tools` may call `name`."""
    return name in ALWAYS_ALLOWED or is_listed(name, allowed_tools)


def tools_for_user(allowed_tools: tuple[str, ...], user_info: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Of the tools that a component lists those it may use for this user ({userId, roles, permissions}).

    Where the user's roles grant tools (`tool:<name>`), those and no others; where no role speaks of tools, all.
    """
    permissions = (user_info or {}).get("permissions", ())
    granted = [one.removeprefix(_TOOL) for one in permissions if one.startswith(_TOOL)]
    if not granted or "*" in granted or "*" in permissions:
        return allowed_tools
    return tuple(name for name in granted if is_listed(name, allowed_tools))
