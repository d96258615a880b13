"""Which tools a component may use: what its `tools[]` say, in words that a definition may use."""

from collections.abc import Collection, Mapping
from typing import Any

from uhlp.tools.core.metrics_record import METRICS_RECORD

ALWAYS_ALLOWED = frozenset({METRICS_RECORD})
"""Provided to every handler without being listed among its component's tools (contracts §5)."""

_TOOL = "tool:"


def is_allowed(name: str, allowed_tools: Collection[str]) -> bool:
    """Whether a component that lists `allowed_tools` may call `name`."""
    return name in ALWAYS_ALLOWED or is_listed(name, allowed_tools)


def is_listed(name: str, allowed_tools: Collection[str]) -> bool:
    """Whether `name` is listed itself, or all tools of its server are (`community.<server>.*`).

    Tools of `core` are listed one by one: a tool that a later UHLP brings is given to nobody unasked.
    """
    if name in allowed_tools:
        return not name.endswith(".*")
    namespace, _, rest = name.partition(".")
    server = rest.partition(".")[0]
    return namespace != "core" and server != "" and f"{namespace}.{server}.*" in allowed_tools


def tools_for_user(allowed_tools: tuple[str, ...], user_info: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Of the tools that a component lists those it may use for this user ({userId, roles, permissions}).

    Where the user's roles grant tools (`tool:<name>`), those and no others; where no role speaks of tools, all.
    """
    permissions = (user_info or {}).get("permissions", ())
    granted = [one.removeprefix(_TOOL) for one in permissions if one.startswith(_TOOL)]
    if not granted or "*" in granted or "*" in permissions:
        return allowed_tools
    return tuple(name for name in granted if is_listed(name, allowed_tools))
