"""Offers: what a server has for definitions to name. Checked when somebody writes one."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from uhlp.access.definition_secrets import DefinitionSecrets
from uhlp.errors import ValidationFailed
from uhlp.models.definition import AppDefinition, ComponentDefinition
from uhlp.models.faults import did_you_mean
from uhlp.models.trigger import CallbackTrigger
from uhlp.registry.definition_files import APP_FILE, REGISTRY_FILE, DefinitionReader
from uhlp.secret_references import REFERENCE
from uhlp.state.remote import Remote
from uhlp.state.remote_reach import RemoteReach


@dataclass(frozen=True, slots=True)
class Offers:
    """MCP servers of the settings, tools of `core`, secrets, places of remotes. What is `known` is not asked about."""

    shared_servers: Collection[str]
    core_tools: Collection[str]
    secrets: DefinitionSecrets | None = None
    remotes: RemoteReach | None = None
    known: Collection[str] = ()

    def with_names_of(self, app: AppDefinition) -> "Offers":
        """These, and what an application names already: a rollback never fails because something is offered no more."""
        refs = {one.ref for one in app.mcp_servers.values() if one.ref}
        tools = {tool for one in app.initial_component_registry.components for tool in one.tools}
        return replace(
            self,
            shared_servers={*self.shared_servers, *refs},
            core_tools={*self.core_tools, *tools},
            known={
                app.state_store_config.params.get("repoUrl", ""),
                *(name for *_, name in _secrets_named(app, app.initial_component_registry.components)),
            },
        )

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
        for file, pointer, name in _secrets_named(app, components):
            if self.secrets is None or name in self.known:
                continue
            if refusal := self.secrets.refusal(app.app_id, name):
                reader.problem(file, pointer, refusal)
        self._check_remote(app, reader)

    def _check_remote(self, app: AppDefinition, reader: DefinitionReader) -> None:
        with suppress(ValidationFailed):  # whose problem is told already
            remote = Remote.of(app.state_store_config.params)
            if remote is None or self.remotes is None or remote.url in self.known:
                return
            if refusal := self.remotes.refusal(app.app_id, remote):
                reader.problem(APP_FILE, "/stateStoreConfig/params/repoUrl", refusal)


def _secrets_named(app: AppDefinition, components: Sequence[ComponentDefinition]) -> Iterator[tuple[str, str, str]]:
    """(file, JSON pointer, name) of every secret whose value UHLP would send or use for the application."""
    places = [
        (APP_FILE, f"/mcpServers/{server}/headers/{header}", value)
        for server, definition in app.mcp_servers.items()
        for header, value in definition.headers.items()
    ]
    places.append(
        (APP_FILE, "/stateStoreConfig/params/credential", app.state_store_config.params.get("credential", ""))
    )
    places += [
        (REGISTRY_FILE, f"/components/{at}/triggers/{number}/verification/secret", trigger.verification.secret)
        for at, component in enumerate(components)
        for number, trigger in enumerate(component.triggers)
        if isinstance(trigger, CallbackTrigger) and trigger.verification is not None
    ]
    for file, pointer, value in places:
        for name in REFERENCE.findall(value):
            yield file, pointer, name
