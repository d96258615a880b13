"""Who may record metrics: anyone in development and staging, in production holders of a token or a key."""

from collections.abc import Mapping

from uhlp.errors import Unauthorized
from uhlp.web.admin_token import AdminToken
from uhlp.web.app_keys import AppKeys, key_of

RECORD = "/record"


class RecordAccess:
    """Checks a request to POST /record. Any valid key of any application will do: it names who fills the memory."""

    def __init__(self, *, token: AdminToken, keys: AppKeys, is_open: bool) -> None:
        self._token = token
        self._keys = keys
        self._is_open = is_open

    async def authorize(self, headers: Mapping[bytes, bytes], *, client: str) -> None:
        """Returns when the caller may record; raises Unauthorized, TooManyRequests."""
        if self._is_open:
            return
        raw = key_of(headers)
        if raw is None:
            raise Unauthorized("In production /record needs the admin token or an application key.")
        if not self._token.matches(raw.encode("latin-1")):
            await self._keys.identify(raw, client=client)
