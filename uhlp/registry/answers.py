"""Answers of the registry that are computed from one definition (seed 003 §3.1.3, §3.1.4)."""

from collections.abc import Mapping
from dataclasses import dataclass

from uhlp.models.definition import AppDefinition, ComponentDefinition, SandboxPoolConfig, SecurityConfig


@dataclass(frozen=True, slots=True)
class ComponentLookup:
    """GetComponentDefinition's answer; path parameters when the look-up was by route."""

    found: bool
    definition: ComponentDefinition | None = None
    extracted_path_parameters: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class UserPermissions:
    """GetUserPermissionsForApp's answer."""

    assigned_roles: tuple[str, ...]
    calculated_permissions: tuple[str, ...]


def permissions_of(security: SecurityConfig, user_id: str) -> UserPermissions:
    """A user's roles, and the permissions of those roles that are defined, each once."""
    roles = security.user_assignments.get(user_id, ())
    defined = [security.user_roles[role] for role in roles if role in security.user_roles]
    granted = dict.fromkeys(permission for role in defined for permission in role.permissions)
    return UserPermissions(tuple(roles), tuple(granted))


def required_pools(app: AppDefinition) -> SandboxPoolConfig:
    """The pools that an application defines, and the default pool where a component uses it unwritten."""
    pools = {pool.pool_name: pool for pool in app.sandbox_pools.pools}
    for component in app.initial_component_registry.components:
        pool = app.pool(component.target_pool_name)
        if pool is not None:
            pools.setdefault(pool.pool_name, pool)
    return SandboxPoolConfig(pools=tuple(pools.values()))
