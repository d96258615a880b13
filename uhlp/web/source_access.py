"""Who may start components by events, queues and callbacks (contracts §7)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uhlp.errors import PermissionDenied, Unauthorized
from uhlp.registry.permissions import grants
from uhlp.web.app_keys import AppKeys, key_of
from uhlp.web.failure_limiter import FailureLimiter

if TYPE_CHECKING:
    from uhlp.models.trigger import CallbackTrigger
    from uhlp.registry.application_registry import ApplicationRegistry
    from uhlp.sources.callbacks import Callbacks

Headers = Mapping[bytes, bytes]


class SourceAccess:
    """A key is always asked for, also by a public application: what comes this way may act without anybody waiting."""

    def __init__(
        self, *, registry: "ApplicationRegistry", keys: AppKeys, callbacks: "Callbacks", limiter: FailureLimiter
    ) -> None:
        self._registry = registry
        self._keys = keys
        self._callbacks = callbacks
        self._limiter = limiter

    async def admit_event(self, headers: Headers, *, app_id: str, event: str, client: str) -> str:
        """The application whose key it is: this one, or one that an InterAppPermission lets send the event."""
        raw = key_of(headers)
        if raw is None:
            raise Unauthorized("An event is sent with an application key: send X-API-Key, or Authorization: Bearer.")
        identity = await self._keys.identify(raw, client=client)
        await self._registry.authorize_trigger(identity, app_id, event)
        return identity.app_id

    async def admit_message(
        self, headers: Headers, *, app_id: str, name: str, component_id: str | None, client: str
    ) -> None:
        """A key of the application with `trigger:<name>`, or with `invoke:` of the component that it starts."""
        raw = key_of(headers)
        if raw is None:
            raise Unauthorized("This needs an application key: send X-API-Key, or Authorization: Bearer.")
        identity = await self._keys.identify(raw, client=client)
        if identity.app_id != app_id:
            raise PermissionDenied("The key belongs to another application.")
        wanted = [f"trigger:{name}"] + ([f"invoke:{component_id}"] if component_id is not None else [])
        if not any(grants(identity.permissions, one) for one in wanted):
            raise PermissionDenied(f"The key lacks the permission {' or '.join(wanted)}.")

    async def check_signature(
        self, app_id: str, trigger: "CallbackTrigger", headers: Headers, body: bytes, *, client: str
    ) -> str:
        """What stands for a signed callback. Who fails too often is told to wait; what is signed rightly never is."""
        try:
            return await self._callbacks.check_signature(app_id, trigger, headers, body)
        except Unauthorized:
            self._limiter.check(client)
            self._limiter.failed(client)
            raise
