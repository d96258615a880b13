"""Spares: started containers that have served nobody, so that a first request waits for a fork and not for a start.

They are kept by kind (everything that cannot change after a start) and not by application: whoever needs one of that
kind gets it, once. One that has been used is never a spare again.
"""

from collections.abc import Awaitable, Callable, Iterable

import structlog

from uhlp.errors import UhlpError
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.docker.image_facts import ImageFacts
from uhlp.sandbox.drivers.docker.sandbox import DockerSandbox
from uhlp.sandbox.drivers.docker.tasks import OwnedTasks

_log = structlog.get_logger(__name__)

Launch = Callable[[SandboxSpec, ImageFacts], Awaitable[DockerSandbox]]
"""Starts a container for a spec's pool of an image."""


class Spares:
    """Up to `number` of each kind, made one at a time."""

    def __init__(self, *, number: int, launch: Launch) -> None:
        self._number = number
        self._launch = launch
        self._ready: dict[str, list[DockerSandbox]] = {}
        """By kind, where there are any: kinds come and go with the pools of applications."""
        self._refilling: set[str] = set()
        self._orders: dict[str, tuple[SandboxSpec, ImageFacts]] = {}
        self._tasks = OwnedTasks()

    def take(self, kind: str, spec: SandboxSpec) -> DockerSandbox | None:
        """A spare of this kind, for this application from now on; None when there is none."""
        while ready := self._ready.get(kind):
            sandbox = ready[-1]
            self.forget(sandbox)
            if sandbox.is_fit:
                sandbox.spec = spec
                return sandbox
        return None

    def add(self, sandbox: DockerSandbox) -> bool:
        """Keep one that has served nobody; False when there are enough of its kind."""
        if self._lacking(sandbox.kind) <= 0:
            return False
        self._ready.setdefault(sandbox.kind, []).append(sandbox)
        return True

    def refill(self, kind: str, spec: SandboxSpec, image: ImageFacts) -> None:
        """Start what is missing of a kind, in the background; does nothing while that is under way."""
        self._orders[kind] = (spec, image)
        if kind not in self._refilling and self._lacking(kind) > 0:
            self._refilling.add(kind)
            self._tasks.spawn(self._refill(kind, spec, image))

    def forget(self, sandbox: DockerSandbox) -> None:
        """It has ended, or is no spare any more."""
        ready = self._ready.get(sandbox.kind, [])
        if sandbox in ready:
            ready.remove(sandbox)
            if not ready:
                del self._ready[sandbox.kind]

    async def tend(self, kinds: Iterable[str]) -> None:
        """End spares that have grown old and those of kinds that nobody uses; start what is missing of the others."""
        wanted = set(kinds)
        for kind, ready in list(self._ready.items()):
            for sandbox in [each for each in ready if kind not in wanted or not each.is_fit]:
                if sandbox in ready:  # it may have been taken, or have ended, while another one was stopped
                    self.forget(sandbox)
                    await sandbox.stop("nobody needs this spare")
        self._orders = {kind: order for kind, order in self._orders.items() if kind in wanted}
        for kind, (spec, image) in self._orders.items():
            self.refill(kind, spec, image)

    def names(self) -> set[str]:
        """The containers that are ready."""
        return {sandbox.sandbox_id for ready in self._ready.values() for sandbox in ready}

    def status(self) -> dict[str, int]:
        """How many are ready, by kind."""
        return {kind: len(ready) for kind, ready in self._ready.items()}

    async def settle(self) -> None:
        """Returns when no spare is being started."""
        await self._tasks.finish()

    async def close(self) -> None:
        """End them all, and make no more."""
        self._number = 0
        await self._tasks.close()
        await self.tend(())

    def _lacking(self, kind: str) -> int:
        return self._number - len(self._ready.get(kind, ()))

    async def _refill(self, kind: str, spec: SandboxSpec, image: ImageFacts) -> None:
        try:
            while self._lacking(kind) > 0:
                self.add(await self._launch(spec, image))
        except UhlpError as error:  # the next start or cycle tries again
            _log.warning("spare_not_started", reason=error.message)
        finally:
            self._refilling.discard(kind)
