"""RegistryGauges: applications by status, components by handler type, age of snapshots,
stale overrides."""

from collections import Counter

from uhlp.catalogue import server, traffic
from uhlp.clock import Clock
from uhlp.metering import Meter, SampledGauge
from uhlp.registry.application_registry import ApplicationRegistry


class RegistryGauges:
    """Made before applications are loaded: it notes when their snapshots come."""

    def __init__(self, *, registry: ApplicationRegistry, clock: Clock, meter: Meter) -> None:
        self._registry = registry
        self._clock = clock
        self._swapped_at: dict[str, float] = {}
        self._applications = SampledGauge(server.APPLICATIONS.on(meter))
        self._components = SampledGauge(traffic.COMPONENTS.on(meter))
        self._stale = SampledGauge(server.STALE_OVERRIDES.on(meter))
        self._ages = SampledGauge(server.SNAPSHOT_AGE.on(meter))
        registry.on_change(self._note)

    def _note(self, app_id: str) -> None:
        self._swapped_at[app_id] = self._clock.monotonic()

    async def show(self) -> None:
        """Show what is in service now."""
        registry, now = self._registry, self._clock.monotonic()
        statuses: Counter[tuple[str, ...]] = Counter()
        for app_id in registry.known_app_ids():
            statuses[((await registry.get_application_status(app_id))[0],)] += 1
        components: Counter[tuple[str, ...]] = Counter()
        in_service = registry.app_ids()
        for app_id in in_service:
            for component in registry.snapshot(app_id).components.values():
                components[app_id, component.definition.handler_type] += 1
        self._applications.show(statuses)
        self._components.show(components)
        self._stale.show({(app_id,): len(registry.snapshot(app_id).stale_overrides) for app_id in in_service})
        self._swapped_at = {app_id: self._swapped_at.get(app_id, now) for app_id in in_service}
        self._ages.show({(app_id,): now - since for app_id, since in self._swapped_at.items()})
