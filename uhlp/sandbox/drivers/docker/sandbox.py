"""DockerSandbox: a container with our zygote in it. Calls do not pass the engine, so they go on while it is down."""

import asyncio
from collections.abc import Awaitable, Callable

from uhlp.clock import Clock
from uhlp.errors import SandboxDied
from uhlp.sandbox.driver import SandboxSpec, Transport
from uhlp.sandbox.drivers.zygote_link import Connect
from uhlp.sandbox.drivers.zygote_sandbox import ZygoteSandbox, ZygoteWorker

LIFETIME_S = 24 * 3600.0
"""Its `uhlp.expires`: whatever server finds it later than this removes it."""

WORKING_LIFE_S = 22 * 3600.0
"""Then it starts no more workers, so that those it has can finish within its lifetime."""


class DockerSandbox(ZygoteSandbox):
    """`sandbox_id` is the container's name. `remove` ends the container, now or when the engine answers again."""

    def __init__(
        self,
        *,
        sandbox_id: str,
        spec: SandboxSpec,
        kind: str,
        transport: Transport,
        connect: Connect,
        clock: Clock,
        remove: Callable[[str], Awaitable[None]],
        on_end: Callable[["DockerSandbox"], None],
    ) -> None:
        self.kind = kind
        self.transport = transport
        self._clock = clock
        self._retires_at_s = clock.monotonic() + WORKING_LIFE_S
        self._remove = remove
        self._on_end = on_end
        super().__init__(sandbox_id=sandbox_id, spec=spec, connect=connect)

    @property
    def is_fit(self) -> bool:
        """Whether it starts workers."""
        return self.link.is_open and self._clock.monotonic() < self._retires_at_s

    async def until_ready(self, limit_s: float) -> None:
        """Returns when the zygote has looked at its walls and loaded the runner; raises SandboxDied, TimeoutError."""
        async with asyncio.timeout(limit_s):
            await asyncio.shield(self._ready)

    async def start_worker(self) -> ZygoteWorker:
        """Fork a worker, unless the container has grown old: then another one takes its place."""
        if not self.is_fit:
            raise SandboxDied(f"The sandbox has ended: {self._stop_reason or 'its container is gone or too old'}.")
        return await super().start_worker()

    async def stop(self, reason: str) -> None:
        """Kill and remove the container; the zygote ends by itself where no engine answers."""
        self._stop_reason = self._stop_reason or reason
        self.link.close()
        await self._remove(self.sandbox_id)

    def _closed(self) -> None:
        super()._closed()
        self._on_end(self)
