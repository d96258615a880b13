"""What a component's `tools[]` may name, as far as its application's definition tells."""

import re
from collections.abc import Collection

from uhlp.models.definition import AppDefinition
from uhlp.models.faults import did_you_mean

_CORE = re.compile(r"core\.[a-z][A-Za-z]*\.[a-z][A-Za-z]*")
_OF_A_SERVER = re.compile(r"(?P<namespace>community|app)\.(?P<server>[^.]+)\.(?P<tool>\*|[A-Za-z0-9_./-]{1,128})")


def is_listed(name: str, allowed_tools: Collection[str]) -> bool:
    """Whether `name` is listed itself, or all tools of its server are (`community.<server>.*`).

    Tools of `core` are listed one by one: a tool that a later UHLP brings is given to nobody unasked.
    """
    if name in allowed_tools:
        return not name.endswith(".*")
    namespace, _, rest = name.partition(".")
    server = rest.partition(".")[0]
    return namespace != "core" and server != "" and f"{namespace}.{server}.*" in allowed_tools


def tool_problem(tool: str, app: AppDefinition) -> str | None:
    """Why `tool` can be none: not a tool's name, or of a server that the application does not have."""
    if _CORE.fullmatch(tool):
        return None
    found = _OF_A_SERVER.fullmatch(tool)
    if found is None:
        return (
            f"{tool[:100]!r} is no tool: write core.<group>.<tool>, app.<server>.<tool> or community.<server>.<tool>, "
            f"or .* for all tools of a server"
        )
    namespace, name = found["namespace"], found["server"]
    server = app.mcp_servers.get(name)
    if server is None:
        return f"there is no server {name} in mcpServers{did_you_mean(name, list(app.mcp_servers))}"
    if server.namespace != namespace:
        return f"tools of {name} are {server.namespace}.{name}.…, because mcpServers gives it a " + (
            "url" if server.ref is None else "ref"
        )
    return None
