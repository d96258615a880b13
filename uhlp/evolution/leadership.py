"""Leadership: of the servers that share a Redis, one decides about candidates.

The leader holds a lease in the runtime store and renews it; who does not renew it in time has lost it, without being
told. Each holder's token lies above every earlier one. A decision is written under the token in force, so that one
which was on its way when the lease was lost is refused (`EvolutionStore` asks in the transaction itself).

What servers share is the runtime store alone. Definitions, recorded traffic, ledger and candidates belong to the data
directory of one server, so a server that takes over goes on with its own candidates, not with the other's. Without the
lease a server answers, measures what it has in traffic and takes out what turns out wrong; it decides nothing.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import NotLeading, RuntimeStoreUnavailable
from uhlp.state.runtime_store import Lease, RuntimeStore

log = structlog.get_logger(__name__)

LEASE = "evolution"
RENEWALS = 3
"""So often is a lease renewed in its time; two may fail."""

_MARGIN = 0.9
"""Of its time a holder uses no more than this: clocks do not run quite alike."""


def holder_name() -> str:
    """Who this process is, in the lease: host, process id, and something no other process has."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(3)}"


class Leadership:
    """`leases` None: nobody shares anything with this server (its data directory is locked), it always leads."""

    def __init__(self, *, leases: RuntimeStore | None, holder: str, ttl_s: float, clock: Clock) -> None:
        self._leases = leases
        self._holder = holder
        self._ttl_s = ttl_s
        self._clock = clock
        self._above = 0
        self._lease: Lease | None = None
        self._until = 0.0
        self._problem: str | None = None
        self._gained = asyncio.Event()
        self._on_gain: list[Callable[[], object]] = []

    @property
    def renew_every_s(self) -> float:
        return self._ttl_s / RENEWALS

    async def open(self, *, above: int) -> None:
        """Try to lead. `above` is the highest token this server's ledger was ever written under."""
        self._above = above
        await self.run_cycle()

    async def aclose(self) -> None:
        """Stop leading and let the next one in at once."""
        was_leading, self._until = self.is_leading, 0.0
        if self._leases is not None and was_leading:
            try:
                await self._leases.release_lease(LEASE, self._holder)
            except RuntimeStoreUnavailable as error:
                log.warning("lease_not_released", why=error.message, ends_in_s=self._ttl_s)

    def on_gain(self, listener: Callable[[], object]) -> None:
        """Call `listener` whenever this server begins to lead."""
        self._on_gain.append(listener)

    async def run_cycle(self) -> None:
        """Take the lease or renew it. An unreachable store changes nothing: the lease runs on until it ends."""
        if self._leases is None:
            return
        led, asked_at = self.is_leading, self._clock.monotonic()
        try:
            found = await self._leases.take_lease(LEASE, self._holder, ttl_seconds=self._ttl_s, above=self._above)
        except RuntimeStoreUnavailable as error:
            if self._problem is None:
                log.warning("lease_not_renewed", leads=led, why=error.message)
            self._problem = error.message
            return
        self._problem, before, self._lease = None, self._lease, found
        if found.holder != self._holder:
            if before is None or before.holder != found.holder:
                log.info("another_server_leads", leader=found.holder, token=found.token)
            return
        self._above = max(self._above, found.token)
        self._until = asked_at + self._ttl_s * _MARGIN
        self._gained.set()
        if before is None or before.token != found.token:
            log.info("leads", holder=self._holder, token=found.token)
            for listener in self._on_gain:
                listener()

    @property
    def is_leading(self) -> bool:
        return self._leases is None or self._clock.monotonic() < self._until

    def token(self) -> int | None:
        """What a decision is written under now; None where leading is not shared. Raises NotLeading."""
        if self._leases is None:
            return None
        lease = self._lease
        if lease is None or not self.is_leading:
            raise NotLeading(self._why_not(), details={"leader": self._leader()}, retry_after_s=self.renew_every_s)
        return lease.token

    def when_leading(self, cycle: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        """A cycle that does nothing on a server that does not lead."""

        async def led() -> None:
            if self.is_leading:
                await cycle()

        return led

    def once_leading(self, cycle: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        """A cycle that waits until this server leads: for loops that wait for work and do not pause."""

        async def led() -> None:
            while not self.is_leading:
                self._gained.clear()
                await self._gained.wait()
            await cycle()

        return led

    def measuring(self, cycle: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
        """A cycle that goes on without the lease: what it may not decide is left to who leads, what it takes out of
        traffic is out.
        """

        async def measured() -> None:
            try:
                await cycle()
            except NotLeading as refused:
                log.info("decision_left_to_the_leader", leader=self._leader(), why=refused.message)

        return measured

    def status(self) -> dict[str, Any]:
        """{leads, leader, token, isShared, problem}: as far as this server knows. `leader` None: nobody, or unknown."""
        return {
            "leads": self.is_leading,
            "leader": self._leader(),
            "token": self._lease.token if self._lease and self.is_leading else None,
            "isShared": self._leases is not None,
            "problem": self._problem,
        }

    def _leader(self) -> str | None:
        if self.is_leading:
            return self._holder
        return None if self._lease is None or self._lease.holder == self._holder else self._lease.holder

    def _why_not(self) -> str:
        if self._problem is not None:
            return f"This server may not decide about candidates now: its lease is not renewed ({self._problem})."
        leader = self._leader()
        if leader is None:
            return "This server may not decide about candidates now: its lease has ended."
        return f"Server {leader} decides about candidates; ask it, or wait until its lease ends."
