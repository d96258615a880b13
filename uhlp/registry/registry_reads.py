"""RegistryReads: what is asked of applications in service (seed 003 §3.1.3, §3.1.4). Memory only."""

from collections.abc import Callable, Mapping
from typing import Any

from uhlp.errors import ComponentNotFound, MethodNotAllowed, PermissionDenied, RouteNotFound, ValidationFailed
from uhlp.models.definition import AppDefinition, InterAppPermission, SandboxPoolConfig
from uhlp.registry.answers import ComponentLookup, UserPermissions, permissions_of, required_pools
from uhlp.registry.api_keys import ApiKeyIdentity
from uhlp.registry.configuration import ConfigurationValue, Origin, look_up, merged, origins
from uhlp.registry.permissions import grants, may_trigger
from uhlp.registry.snapshot import AppSnapshot
from uhlp.registry.snapshot_store import SnapshotStore


class RegistryReads:
    """Answers from snapshots. AppNotFound for an unknown application, Unavailable for one in ERROR."""

    def __init__(self, *, snapshots: SnapshotStore, global_configuration: Callable[[], Mapping[str, Any]]) -> None:
        self._snapshots = snapshots
        self._global_configuration = global_configuration

    def snapshot(self, app_id: str) -> AppSnapshot:
        """What a request uses; a dict read. AppNotFound, or Unavailable when no revision compiles."""
        return self._snapshots.get(app_id)

    def app_ids(self) -> list[str]:
        """The applications in service, in order of name."""
        return self._snapshots.app_ids()

    def known_app_ids(self) -> list[str]:
        """The applications in service, and those in ERROR, in order of name."""
        return self._snapshots.known_app_ids()

    def is_known(self, app_id: str) -> bool:
        """Whether it is one of `known_app_ids`."""
        return self._snapshots.is_known(app_id)

    async def list_active_applications(self) -> list[str]:
        """The applications in service."""
        return self.app_ids()

    async def get_application_details(self, app_id: str) -> AppDefinition:
        """The whole definition, components included."""
        return self.snapshot(app_id).definition

    async def get_sandbox_requirements(self, app_id: str) -> SandboxPoolConfig:
        """The pools that the application needs: those it defines, and the default pool where a component uses it."""
        return required_pools(self.snapshot(app_id).definition)

    async def get_component_definition(
        self, app_id: str, component_id: str | None = None, *, method: str | None = None, path: str | None = None
    ) -> ComponentLookup:
        """A component by its id, or by the method and path (percent-encoded) of a request."""
        app = self.snapshot(app_id)
        parameters: Mapping[str, str] | None = None
        if component_id is None:
            if method is None or path is None:
                raise ValidationFailed("give either componentId, or method and path")
            try:
                match = app.routes.match(method, path)
            except (RouteNotFound, MethodNotAllowed):
                return ComponentLookup(found=False)
            component_id, parameters = match.component_id, match.path_params
        component = app.components.get(component_id)
        if component is None:
            return ComponentLookup(found=False)
        return ComponentLookup(True, component.definition, parameters)

    async def get_app_configuration_value(
        self, app_id: str, key: str, component_id: str | None = None
    ) -> ConfigurationValue:
        """A value of the merged configuration and the level it comes from; `key` may be a dotted path."""
        return look_up(self._levels(app_id, component_id), key)

    async def get_app_configuration(
        self, app_id: str, component_id: str | None = None
    ) -> dict[str, ConfigurationValue]:
        """The whole merged configuration: every value by its dotted path, with the level that gives it."""
        return origins(self._levels(app_id, component_id))

    def app_configuration(self, app_id: str) -> dict[str, Any]:
        """The configuration that holds for the application beside its components: global, below its own."""
        return merged(self._global_configuration(), self.snapshot(app_id).definition.configuration)

    def _levels(self, app_id: str, component_id: str | None) -> dict[Origin, Mapping[str, Any]]:
        app = self.snapshot(app_id)
        component = None if component_id is None else app.components.get(component_id)
        if component_id is not None and component is None:
            raise ComponentNotFound(f"there is no component {component_id}", details={"componentId": component_id})
        return {
            "global": self._global_configuration(),
            "application": app.definition.configuration,
            "component": component.definition.configuration_overrides if component else {},
        }

    async def get_application_permissions(self, app_id: str) -> tuple[InterAppPermission, ...]:
        """Which applications may trigger this one, and with which events."""
        return self.snapshot(app_id).definition.security_config.inter_app_permissions

    async def authorize_trigger(self, identity: ApiKeyIdentity, app_id: str, event: str) -> None:
        """Returns when the key may send `event` to the application; PermissionDenied.

        The key needs `trigger:<event>`; one of another application needs an InterAppPermission of this one besides.
        """
        definition = self.snapshot(app_id).definition
        if identity.app_id != app_id and not may_trigger(definition, source_app_id=identity.app_id, event=event):
            raise PermissionDenied(f"{app_id} lets {identity.app_id} send no event {event}.")
        if not grants(identity.permissions, f"trigger:{event}"):
            raise PermissionDenied(f"The key lacks the permission trigger:{event}.")

    async def get_user_permissions_for_app(self, app_id: str, user_id: str) -> UserPermissions:
        """A user's roles in the application and the permissions that follow from them."""
        return permissions_of(self.snapshot(app_id).definition.security_config, user_id)
