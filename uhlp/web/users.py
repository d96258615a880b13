"""Who the user behind a request to an application is: told by a proxy that is trusted, or by a JWT (contracts §2)."""

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

import jwt

from uhlp.errors import Unauthorized, ValidationFailed
from uhlp.secret_references import SecretReader, resolve
from uhlp.web.config import UserSettings

MOST_USER_ID = 256
_KEY_PREFIX = b"uhlp_"


class Users:
    """Reads the user's id from a request's headers. Raises ValidationFailed at the start when its key is missing."""

    def __init__(self, *, settings: UserSettings, read_secret: SecretReader) -> None:
        self._settings = settings
        self._header = settings.header.lower().encode()
        self._proxies = [ip_network(network) for network in settings.trusted_proxies]
        self._key = ""
        if settings.source == "jwt":
            if not settings.jwt_key.startswith("secret:"):
                raise ValidationFailed("users.jwt_key must be a reference, secret:NAME.")
            self._key = resolve(settings.jwt_key, read_secret) or ""
            if not self._key:
                raise ValidationFailed(f"users.jwt_key names {settings.jwt_key}, and there is no such secret.")
            self._check_key()

    def user_of(self, headers: Mapping[bytes, bytes], *, client: str) -> str | None:
        """The user's id; None when nobody is named. Unauthorized for a token that is not valid."""
        if self._settings.source == "header":
            return self._from_proxy(headers, client)
        if self._settings.source == "jwt":
            return self._from_token(headers)
        return None

    def _from_proxy(self, headers: Mapping[bytes, bytes], client: str) -> str | None:
        """What anybody but a trusted proxy says of itself is not heard."""
        raw = headers.get(self._header)
        try:
            address = ip_address(client)
        except ValueError:
            return None
        if raw is None or not any(address in network for network in self._proxies):
            return None
        return _user_id(raw.decode("utf-8", "replace"))

    def _from_token(self, headers: Mapping[bytes, bytes]) -> str | None:
        scheme, _, raw = headers.get(b"authorization", b"").partition(b" ")
        token = raw.strip()
        if scheme.lower() != b"bearer" or not token or token.startswith(_KEY_PREFIX):
            return None
        settings = self._settings
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=list(settings.jwt_algorithms),
                issuer=settings.jwt_issuer,
                audience=settings.jwt_audience,
                leeway=settings.jwt_leeway_s,
                options={"require": ["exp"], "verify_aud": settings.jwt_audience is not None},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthorized("The user's token is not valid, or has expired.") from None
        found = claims.get(settings.jwt_claim)
        if not isinstance(found, str):
            raise Unauthorized(f"The user's token has no {settings.jwt_claim}.")
        return _user_id(found)

    def _check_key(self) -> None:
        """A key that no algorithm can use is found at the start, not by the first user."""
        for name in self._settings.jwt_algorithms:
            try:
                jwt.get_algorithm_by_name(name).prepare_key(self._key)
            except (jwt.PyJWTError, ValueError, TypeError):
                continue
            return
        raise ValidationFailed(f"users.jwt_key fits none of {', '.join(self._settings.jwt_algorithms)}.")


def _user_id(text: str) -> str:
    user_id = text.strip()
    if not 0 < len(user_id) <= MOST_USER_ID or not user_id.isprintable():
        raise Unauthorized(f"A user's id has 1 to {MOST_USER_ID} printable characters.")
    return user_id
