"""Discoveries that no candidate has come of yet: what each is worth, who comes first, and what holds them.

A rule that still holds asks again at every cycle, so nothing here is a promise: the list says what was asked for
lately and why it has not been started.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import structlog

from uhlp.clock import Clock
from uhlp.errors import UhlpError
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.expectation import Expectation, Expectations
from uhlp.optimization.optimization_oracle import Discovery
from uhlp.registry.application_registry import ApplicationRegistry

log = structlog.get_logger(__name__)

_FORGOTTEN_AFTER_CYCLES = 6

HeldStatus = Literal["not_worth_it", "queued", "waiting", "refused"]
"""It does not pay; a limit or a budget lets others go first; a clock after the last failure runs; it must not be."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A discovery with what it is worth now; None where nobody can tell before: of a shorter prompt."""

    discovery: Discovery
    expected: Expectation | None

    @property
    def place(self) -> tuple[str, str]:
        return self.discovery.app_id, self.discovery.component_id

    @property
    def value_usd(self) -> float:
        """What it saves within the horizon beyond its cost; what is not known stands behind what is worth it, and
        before what is not."""
        if self.expected is None:
            return 0.0
        balance = self.expected.balance
        if balance.horizon_saving_usd is None or balance.compile_usd is None:
            return 0.0
        return balance.horizon_saving_usd - balance.compile_usd


@dataclass(frozen=True, slots=True)
class HeldDiscovery:
    """A wish that was not started, since when, when it was last asked for, and why in words."""

    wish: Wish
    status: HeldStatus
    why: str
    since: float
    seen_at: float


class Discoveries:
    """Ranks what the oracle found, and remembers what was held back."""

    def __init__(
        self, *, expectations: Expectations, app_registry: ApplicationRegistry, clock: Clock, config: ConfigInForce
    ) -> None:
        self._expectations = expectations
        self._registry = app_registry
        self._clock = clock
        self._config = config
        self._held: dict[tuple[str, str], HeldDiscovery] = {}

    async def ranked(self, found: Iterable[Discovery]) -> list[Wish]:
        """What is worth most first. Discoveries of components that are gone are dropped."""
        wishes = []
        for one in found:
            expected = await self.expected(one.app_id, one.component_id)
            if expected is not None:
                wishes.append(Wish(one, expected))
        return sorted(wishes, key=lambda wish: wish.value_usd, reverse=True)

    async def expected(self, app_id: str, component_id: str) -> Expectation | None:
        """What compiling this component would take and save; None when it is gone."""
        try:
            app = self._registry.snapshot(app_id)
            component = app.components.get(component_id)
            return None if component is None else await self._expectations.of(app, component)
        except UhlpError as error:  # gone, or its application cannot be read now
            log.info("discovery_dropped", app_id=app_id, component_id=component_id, why=error.message)
            return None

    def hold(self, wish: Wish, status: HeldStatus, why: str) -> None:
        """Remember why this one was not started."""
        now = self._clock.now()
        before = self._held.get(wish.place)
        if before is None or (before.status, before.why) != (status, why):
            app_id, component_id = wish.place
            log.info("discovery_held", app_id=app_id, component_id=component_id, status=status, why=why)
        since = before.since if before is not None else now
        self._held[wish.place] = HeldDiscovery(wish, status, why, since, now)

    def drop(self, app_id: str, component_id: str) -> None:
        """It was started, or is not wanted any more."""
        self._held.pop((app_id, component_id), None)

    def held(self) -> list[HeldDiscovery]:
        """What was asked for lately and is held, the one worth most first."""
        oldest = self._clock.now() - max(60.0, _FORGOTTEN_AFTER_CYCLES * self._config.now.cycle_s)
        self._held = {place: one for place, one in self._held.items() if one.seen_at >= oldest}
        return sorted(self._held.values(), key=lambda one: one.wish.value_usd, reverse=True)

    def held_one(self, app_id: str, component_id: str) -> HeldDiscovery | None:
        """What holds this component's discovery, if anything."""
        return next((one for one in self.held() if one.wish.place == (app_id, component_id)), None)


def what_was_known(expected: Expectation | None, discovery: Discovery | None = None) -> dict[str, Any]:
    """The evidence of a discovery, for the ledger: the balance, and the rule with its values."""
    evidence: dict[str, Any] = {}
    if expected is not None:
        evidence["expected"] = expected.to_dict()
    if discovery is not None and discovery.rule:
        evidence["rule"] = dict(discovery.rule)
    return evidence
