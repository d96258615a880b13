"""Tools: what an application's components may call, and how its MCP servers are (seed 003 §3.4)."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from uhlp.registry.tool_names import is_listed
from uhlp.web.admin.access import ServicesDep

router = APIRouter(prefix="/apps/{app_id}", tags=["tools"])

Ask = Annotated[bool, Query(description="Ask the servers that nobody has asked of late; they are connected for that.")]


@router.get("/tools")
async def tools(app_id: str, services: ServicesDep, ask: Ask = False) -> dict[str, Any]:
    """Every MCP server with its state (connected, unreachable since when and why, idle) and the tools it is known to
    have; and for each component what it lists, with the known tools that this allows it."""
    snapshot = services.registry.snapshot(app_id)
    if ask:
        await services.mcp_servers.ask(app_id)
    servers = services.mcp_servers.describe(app_id)
    known = [
        *services.core_tools,
        *(f"{one['namespace']}.{one['name']}.{tool}" for one in servers for tool in one["tools"]),
    ]
    return {
        "appId": app_id,
        "servers": servers,
        "components": [
            {
                "componentId": component_id,
                "tools": [
                    {"allowed": allowed, "matches": [name for name in known if is_listed(name, (allowed,))]}
                    for allowed in component.definition.tools
                ],
            }
            for component_id, component in sorted(snapshot.components.items())
        ],
    }
