"""Who may record metrics: anyone in development and staging, in production holders of a token or a key."""

from collections.abc import Mapping

from uhlp.access.administrator import Administrator
from uhlp.errors import Unauthorized
from uhlp.web.admin_gate import AdminGate
from uhlp.web.app_keys import AppKeys, key_of

RECORD = "/record"


class RecordAccess:
    """Checks a request to POST /record. Any valid key of any application will do: it names who fills the memory."""

    def __init__(self, *, gate: AdminGate, keys: AppKeys, is_open: bool) -> None:
        self._gate = gate
        self._keys = keys
        self._is_open = is_open

    async def authorize(self, headers: Mapping[bytes, bytes], *, client: str) -> Administrator | None:
        """Returns when the credentials are good: whose admin token it was, if it was one. Raises Unauthorized,
        TooManyRequests.
        """
        if self._is_open:
            return None
        raw = key_of(headers)
        if raw is None:
            raise Unauthorized("In production /record needs the admin token or an application key.")
        administrator = self._gate.holder(raw.encode("latin-1"))
        if administrator is None:
            await self._keys.identify(raw, client=client)
        return administrator
