"""Who may call an application's routes: its keys, and its users by their roles (contracts §2, §7)."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import PermissionDenied
from uhlp.hot_record import hot_record
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
        if app.definition.public and self._users is None:
            return None  # nobody is asked for anything
        admission = await self.recognise(headers, app=app, client=client)
        admission.check(component_id)
        return admission.user_info

    async def recognise(self, headers: Mapping[bytes, bytes], *, app: AppSnapshot, client: str) -> "Admission":
        """Who asks, whatever component they mean; raises Unauthorized, PermissionDenied, TooManyRequests."""
        user_id = None if self._users is None else self._users.user_of(headers, client=client)
        definition = app.definition
        asks_roles = has_roles(definition.security_config)
        key_permissions: tuple[str, ...] | None = None
        if not definition.public and not (user_id is not None and asks_roles and not _brings_key(headers)):
            key_permissions = await self._keys.permissions(headers, app_id=app.app_id, client=client)
        if user_id is None:
            return Admission(key_permissions)
        found = permissions_of(definition.security_config, user_id)
        user_info = {
            "userId": user_id,
            "roles": list(found.assigned_roles),
            "permissions": list(found.calculated_permissions),
        }
        return Admission(key_permissions, found.calculated_permissions if asks_roles else None, user_info)


@hot_record()
class Admission:
    """What a caller may reach. None stands for permissions that nobody asked for."""

    key_permissions: tuple[str, ...] | None
    user_permissions: tuple[str, ...] | None = None
    user_info: dict[str, Any] | None = None

    @property
    def is_anybody(self) -> bool:
        """Neither a key nor a role was needed: the application is public."""
        return self.key_permissions is None and self.user_permissions is None

    def check(self, component_id: str) -> None:
        """Returns when the component may be invoked; PermissionDenied."""
        invoke = f"invoke:{component_id}"
        if self.key_permissions is not None and not grants(self.key_permissions, invoke):
            raise PermissionDenied(f"The key lacks the permission {invoke}.")
        if self.user_permissions is not None and not grants(self.user_permissions, invoke):
            raise PermissionDenied(f"The user's roles lack the permission {invoke}.")

    def may_invoke(self, component_id: str) -> bool:
        """Whether `check` returns."""
        invoke = f"invoke:{component_id}"
        return all(grants(own, invoke) for own in (self.key_permissions, self.user_permissions) if own is not None)


def _brings_key(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request carries an application key, not only the user's token."""
    return b"x-api-key" in headers or (key_of(headers) or "").startswith("uhlp_")
