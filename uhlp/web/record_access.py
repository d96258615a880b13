"""Who may write metrics, whose, and who may read them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uhlp.errors import Unauthorized
from uhlp.metrics import Writer
from uhlp.web.admin.role_table import check_role
from uhlp.web.admin_gate import AdminGate
from uhlp.web.app_keys import AppKeys, key_of

if TYPE_CHECKING:
    from uhlp.registry.application_registry import ApplicationRegistry

RECORD = "/record"
METRICS = "/metrics"


class Registered:
    """The applications there are, as a container."""

    def __init__(self, registry: "ApplicationRegistry") -> None:
        self._registry = registry

    def __contains__(self, app_id: object) -> bool:
        return self._registry.is_known(str(app_id))


class RecordAccess:
    """An administrator may write every series. An application's key, any of them, writes that application's alone.

    Without credentials one may write outside production, where `is_open`; credentials that are sent must be good.
    """

    def __init__(
        self,
        *,
        gate: AdminGate,
        keys: AppKeys,
        registry: "ApplicationRegistry",
        is_open: bool,
        reading_is_open: bool,
    ) -> None:
        self._gate = gate
        self._keys = keys
        self._is_open = is_open
        self._reading_is_open = reading_is_open
        self._anyone = Writer(applications=Registered(registry))

    async def writer(self, headers: Mapping[bytes, bytes], *, client: str) -> Writer:
        """Who writes; raises Unauthorized, PermissionDenied, TooManyRequests."""
        raw = key_of(headers)
        if raw is None:
            if self._is_open:
                return self._anyone
            raise Unauthorized("Recording metrics needs the admin token or an application key here.")
        administrator = self._gate.holder(raw.encode("latin-1"))
        if administrator is not None:
            check_role(administrator, "POST", RECORD)
            return self._anyone
        identity = await self._keys.identify(raw, client=client)
        return self._anyone._replace(app_id=identity.app_id)

    def authorize_reading(self, headers: Mapping[bytes, bytes], *, client: str) -> None:
        """Returns when the metrics may be read; raises Unauthorized, PermissionDenied, TooManyRequests."""
        if not self._reading_is_open:
            check_role(self._gate.authenticate(headers, client=client), "GET", METRICS)
