"""Who may call an application's routes: application keys (contracts §7)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from uhlp.errors import PermissionDenied, Unauthorized
from uhlp.web.failure_limiter import FailureLimiter

if TYPE_CHECKING:
    from uhlp.registry.api_keys import ApiKeyIdentity
    from uhlp.registry.application_registry import ApplicationRegistry
    from uhlp.web.services import Services


class AppKeys:
    """Checks the key of a request. Keys seen before are answered from memory; new ones cost one argon2id, off the
    loop, and only for callers who have not failed too often.
    """

    def __init__(self, *, registry: "ApplicationRegistry", limiter: FailureLimiter) -> None:
        self._registry = registry
        self._limiter = limiter

    @classmethod
    def of(cls, services: "Services") -> Self:
        per_minute = services.settings.failed_logins_per_minute
        return cls(
            registry=services.registry, limiter=FailureLimiter(clock=services.clock, failures_per_minute=per_minute)
        )

    async def permissions(self, headers: Mapping[bytes, bytes], *, app_id: str, client: str) -> tuple[str, ...]:
        """What the key that comes along may do in the application; Unauthorized, PermissionDenied, TooManyRequests."""
        raw = key_of(headers)
        if raw is None:
            raise Unauthorized("This application needs a key: send X-API-Key, or Authorization: Bearer.")
        identity = await self.identify(raw, client=client)
        if identity.app_id != app_id:
            raise PermissionDenied("The key belongs to another application.")
        return identity.permissions

    async def identify(self, raw: str, *, client: str) -> "ApiKeyIdentity":
        """Whose key this is; raises Unauthorized, TooManyRequests."""
        identity = self._registry.known_api_key(raw)
        if identity is None:
            self._limiter.check(client)
            identity = await self._registry.validate_api_key(raw)
            if identity is None:
                self._limiter.failed(client)
                raise Unauthorized("The application key is not valid.")
        return identity


def key_of(headers: Mapping[bytes, bytes]) -> str | None:
    """The raw key or token that a request carries in X-API-Key or Authorization: Bearer."""
    raw = headers.get(b"x-api-key")
    if raw is None:
        scheme, _, raw = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return None
    return raw.strip().decode("latin-1") or None
