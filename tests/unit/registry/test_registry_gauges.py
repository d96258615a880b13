"""What Prometheus sees of applications."""

from tests.shown_metrics import ShownMeter
from tests.unit.registry.conftest import CHEAP, FILES
from uhlp.catalogue import server, traffic
from uhlp.clock import FakeClock
from uhlp.models.definition import AppDefinition
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.registry_gauges import RegistryGauges
from uhlp.state.state_manager import StateManager


async def test_applications_their_components_and_the_age_of_snapshots_are_shown(state: StateManager) -> None:
    meter, clock = ShownMeter(), FakeClock()
    registry = ApplicationRegistry(state=state, config=CHEAP)
    gauges = RegistryGauges(registry=registry, clock=clock, meter=meter)
    await registry.register_application(AppDefinition(app_id="desk"), files=FILES, actor="Ann")
    clock.advance(60)
    await gauges.show()
    assert meter.series(server.APPLICATIONS) == {("ACTIVE",): 1}
    assert meter.series(server.SNAPSHOT_AGE) == {("desk",): 60}
    assert meter.series(traffic.COMPONENTS)["desk", "LLM"] >= 1

    await state.commit("desk", {"app.yaml": b"{"}, message="Break it")
    await registry.refresh("desk")
    await gauges.show()
    assert meter.series(server.APPLICATIONS) == {("DEGRADED",): 1}
    assert meter.series(server.SNAPSHOT_AGE) == {("desk",): 60}

    await registry.deregister_application("desk", delete_state=True)
    await gauges.show()
    assert (
        meter.series(server.APPLICATIONS) == meter.series(server.SNAPSHOT_AGE) == meter.series(traffic.COMPONENTS) == {}
    )
    registry.close()
