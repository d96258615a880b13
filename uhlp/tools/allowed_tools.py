"""Which tools a component may use: what its `tools[]` say, in words that a definition may use."""

from collections.abc import Collection

from uhlp.tools.core.metrics_record import METRICS_RECORD

ALWAYS_ALLOWED = frozenset({METRICS_RECORD})
"""Provided to every handler without being listed among its component's tools (contracts §5)."""


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
