"""Who may call an application's routes: its keys, and its users by their roles (contracts §2, §7)."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import PermissionDenied
from uhlp.registry.answers import permissions_of
from uhlp.registry.permissions import grants, has_roles
from uhlp.registry.snapshot import AppSnapshot
from uhlp.web.app_keys import AppKeys, key_of
from uhlp.web.users import Users


class RouteAccess:
    """Admits a request to one component.

    A public application asks nobody. Another one asks for an application key with `invoke:<componentId>`, or, where
    it defines user roles, for a user whose roles grant it. A user that is named must be granted it by a role in any
    case, whoever's key comes along: with a key the caller is known, with a user the person behind it is.
    """

    def __init__(self, *, keys: AppKeys, users: Users | None) -> None:
        self._keys = keys
        self._users = users

    async def admit(
        self, headers: Mapping[bytes, bytes], *, app: AppSnapshot, component_id: str, client: str
    ) -> dict[str, Any] | None:
        """`userInfo` for the sandbox: {userId, roles, permissions}, None without a user.

        Raises Unauthorized, PermissionDenied, TooManyRequests.
        """
        user_id = None if self._users is None else self._users.user_of(headers, client=client)
        definition = app.definition
        asks_roles = has_roles(definition.security_config)
        if not definition.public and not (user_id is not None and asks_roles and not _brings_key(headers)):
            await self._keys.authorize(headers, app_id=app.app_id, component_id=component_id, client=client)
        if user_id is None:
            return None
        found = permissions_of(definition.security_config, user_id)
        if asks_roles and not grants(found.calculated_permissions, f"invoke:{component_id}"):
            raise PermissionDenied(f"The user's roles lack the permission invoke:{component_id}.")
        return {
            "userId": user_id,
            "roles": list(found.assigned_roles),
            "permissions": list(found.calculated_permissions),
        }


def _brings_key(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request carries an application key, not only the user's token."""
    return b"x-api-key" in headers or (key_of(headers) or "").startswith("uhlp_")
