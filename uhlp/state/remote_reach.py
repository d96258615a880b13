"""RemoteReach: which repositories the definition of which application may name as its remote."""

from pathlib import Path

from uhlp.access.address_guard import AddressGuard, AddressRefused
from uhlp.clock import Clock
from uhlp.errors import RemoteUnavailable
from uhlp.state.config import RemoteSettings
from uhlp.state.remote import Remote

AMONG_OUR_OWN = "repoUrl lies among the server's own repositories, of which no other is a remote."


class RemoteReach:
    """A definition's writer names the place, but this machine goes there: so the operator says which may be named.

    `own` is the folder of the applications' repositories, which no setting allows.
    """

    def __init__(
        self, *, settings: RemoteSettings, clock: Clock, own: Path | None = None, guard: AddressGuard | None = None
    ) -> None:
        self._own = own
        self._paths = settings.paths
        self._guard = guard or AddressGuard(rules=settings, prefix="remotes", clock=clock)

    def refusal(self, app_id: str, remote: Remote) -> str | None:
        """Why the application may not name it, and what to do, as far as it can be said without asking for the host's
        address; None when it may. Looks at paths: call it in a thread."""
        if remote.path is not None:
            if self._own is not None and remote.lies_in(self._own):
                return AMONG_OUR_OWN
            listed = (*self._paths.get(app_id, ()), *self._paths.get("*", ()))
            if any(remote.path.resolve().is_relative_to(one.resolve()) for one in listed):
                return None
            return f"repoUrl is a path that is not for {app_id}: the operator lists its folder (remotes.paths)"
        host, port = remote.host_and_port
        reason = self._guard.refusal_by_name(host, port)
        return None if reason is None else f"repoUrl: {reason}"

    async def addresses(self, remote: Remote) -> tuple[str, ...]:
        """The addresses that git may dial for a remote elsewhere. Raises RemoteUnavailable with the reason."""
        host, port = remote.host_and_port
        try:
            return await self._guard.addresses(host, port, is_shared=False)
        except AddressRefused as refused:
            raise RemoteUnavailable(f"{remote.url}: {refused}") from None
