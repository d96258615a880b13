"""Who may write metrics, whose, and who may read them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from uhlp.access.sandbox_tokens import SandboxIdentity
from uhlp.errors import Unauthorized
from uhlp.metrics import Writer
from uhlp.web.admin.role_table import check_role
from uhlp.web.admin_gate import AdminGate
from uhlp.web.app_keys import AppKeys, key_of
from uhlp.web.sandbox_gate import SandboxGate

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
    """An administrator may write every series. An application's key, any of them, writes that application's alone; an
    execution's token too, and what is known of the execution are labels of all that it writes.

    Without credentials one may write outside production, where `is_open`; credentials that are sent must be good.
    """

    def __init__(
        self,
        *,
        gate: AdminGate,
        keys: AppKeys,
        sandboxes: SandboxGate,
        registry: "ApplicationRegistry",
        is_open: bool,
        reading_is_open: bool,
    ) -> None:
        self._gate = gate
        self._keys = keys
        self._sandboxes = sandboxes
        self._is_open = is_open
        self._reading_is_open = reading_is_open
        self._registered = Registered(registry)
        self._anyone = Writer(applications=self._registered)

    async def writer(self, headers: Mapping[bytes, bytes], *, client: str) -> Writer:
        """Who writes; raises Unauthorized, PermissionDenied, TooManyRequests."""
        raw = key_of(headers)
        if raw is None:
            if self._is_open:
                return self._anyone
            raise Unauthorized("Recording metrics needs an admin token, an application key or a sandbox token here.")
        token = raw.encode("latin-1")
        if self._sandboxes.is_for(token):
            return self._executions_writer(self._sandboxes.check(token, client=client))
        administrator = self._gate.holder(token)
        if administrator is not None:
            check_role(administrator, "POST", RECORD)
            return self._anyone
        identity = await self._keys.identify(raw, client=client)
        return self._anyone._replace(app_id=identity.app_id)

    def _executions_writer(self, identity: SandboxIdentity) -> Writer:
        if identity.app_id not in self._registered:
            raise Unauthorized("The application of this sandbox token is gone.")
        known = {
            "componentId": identity.component_id,
            "sandboxId": identity.sandbox_id,
            "handlerType": identity.handler_type,
            "poolName": identity.pool_name,
        }
        return self._anyone._replace(app_id=identity.app_id, identity=known)

    def authorize_reading(self, headers: Mapping[bytes, bytes], *, client: str) -> None:
        """Returns when the metrics may be read; raises Unauthorized, PermissionDenied, TooManyRequests."""
        if not self._reading_is_open:
            check_role(self._gate.authenticate(headers, client=client), "GET", METRICS)
