"""Offers: what a server has for definitions to name."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from uhlp.models.definition import AppDefinition, ComponentDefinition
from uhlp.models.faults import did_you_mean
from uhlp.registry.definition_files import APP_FILE, REGISTRY_FILE, DefinitionReader


@dataclass(frozen=True, slots=True)
class Offers:
    """MCP servers of the settings, and tools of `core`."""

    shared_servers: Collection[str]
    core_tools: Collection[str]

    def with_names_of(self, app: AppDefinition) -> "Offers":
        """These, and what an application names already: a rollback never fails because something is offered no more."""
        refs = {one.ref for one in app.mcp_servers.values() if one.ref}
        tools = {tool for one in app.initial_component_registry.components for tool in one.tools}
        return Offers({*self.shared_servers, *refs}, {*self.core_tools, *tools})

    def check(self, app: AppDefinition, components: Sequence[ComponentDefinition], reader: DefinitionReader) -> None:
        """Tell of every name that stands for nothing here."""
        for name, server in app.mcp_servers.items():
            if server.ref is not None and server.ref not in self.shared_servers:
                known = did_you_mean(server.ref, sorted(self.shared_servers))
                message = f"the server's settings have no MCP server {server.ref} (mcp.servers){known}"
                reader.problem(APP_FILE, f"/mcpServers/{name}/ref", message)
        for at, component in enumerate(components):
            for index, tool in enumerate(component.tools):
                if tool.startswith("core.") and tool not in self.core_tools:
                    message = f"there is no tool {tool[:100]}{did_you_mean(tool, sorted(self.core_tools))}"
                    reader.problem(REGISTRY_FILE, f"/components/{at}/tools/{index}", message)
