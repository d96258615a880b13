"""An application's status with its pools and loops, and how it goes."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from uhlp.clock import FakeClock
from uhlp.errors import Unavailable
from uhlp.metering import NullMeter
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.fake import FakeDriver, NeverStartsDriver
from uhlp.sandbox.manager import SandboxManager
from uhlp.web.services import Services
from web.fakes import NoSandboxes
from web.stores import stored_services

APPS = "/admin/v1/apps"
POOLS = {"pools": [{"poolName": "default", "minInstances": 2}]}
DESK = {
    "definition": {"appId": "desk", "public": True, "sandboxPools": POOLS},
    "files": {
        "component_registry.yaml": "components: [{componentId: a, taskDetails: {prompt_template: p},"
        " routeMatcher: {pathPattern: /a}}]",
        "prompts/p.yaml": "template: hello",
    },
}
ClientOf = Callable[[Services], Awaitable[httpx.AsyncClient]]


class Watched(NoSandboxes):
    """Sandboxes that look at the application when they are told to stop."""

    def __init__(self) -> None:
        self.stops: list[tuple[str, list[str], bool]] = []
        self.is_stuck = False
        self.registry: ApplicationRegistry | None = None
        self.folder: Path | None = None

    async def stop_application(self, app_id: str) -> None:
        assert self.registry is not None
        assert self.folder is not None
        repository = self.folder / "apps" / f"{app_id}.git"
        self.stops.append((app_id, self.registry.app_ids(), repository.is_dir()))
        if self.is_stuck:
            raise Unavailable("the engine does not answer")


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncIterator[Services]:
    async with stored_services(tmp_path, sandboxes=Watched()) as services:
        watched: Any = services.sandboxes
        watched.registry, watched.folder = services.registry, tmp_path
        yield services


@pytest.fixture
async def desk(stored: Services, client_of: ClientOf, admin: dict[str, str]) -> httpx.AsyncClient:
    client = await client_of(stored)
    client.headers.update(admin)
    assert (await client.post(APPS, json=DESK)).status_code == 201
    await client.put(f"{APPS}/desk/runtime/k", json={"value": 1})
    sample = {"input": {}, "output": "x"}
    await client.post(f"{APPS}/desk/samples", json={"componentId": "a", "samples": [sample]})
    return client


async def test_a_removed_application_is_out_of_service_before_its_sandboxes_end_and_its_state_goes_last(
    desk: httpx.AsyncClient, stored: Services
) -> None:
    assert (await desk.delete(f"{APPS}/desk", params={"deleteState": True})).status_code == 200
    sandboxes: Any = stored.sandboxes
    assert sandboxes.stops == [("desk", [], True)]
    assert await stored.state.list_repositories() == []
    assert not (await stored.state.get_runtime_value("desk", "k")).found
    assert (await stored.samples.counts("desk", "a")).total == 0
    evolution: Any = stored.evolution
    assert evolution.asked == [("forget", "desk")]
    assert (await desk.delete(f"{APPS}/desk")).status_code == 404


async def test_without_deleting_state_everything_is_kept(desk: httpx.AsyncClient, stored: Services) -> None:
    assert (await desk.delete(f"{APPS}/desk")).status_code == 200
    assert await stored.state.list_repositories() == ["desk"]
    assert (await stored.state.get_runtime_value("desk", "k")).value == 1
    assert (await stored.samples.counts("desk", "a")).total == 1
    evolution: Any = stored.evolution
    assert evolution.asked == []


async def test_an_interrupted_removal_can_be_asked_for_again(desk: httpx.AsyncClient, stored: Services) -> None:
    sandboxes: Any = stored.sandboxes
    sandboxes.is_stuck = True
    assert (await desk.delete(f"{APPS}/desk", params={"deleteState": True})).status_code == 503
    assert (await desk.get(f"{APPS}/desk/status")).json()["status"] == "INACTIVE"
    sandboxes.is_stuck = False
    assert (await desk.delete(f"{APPS}/desk", params={"deleteState": True})).status_code == 200
    assert await stored.state.list_repositories() == []


async def status_with(
    driver: FakeDriver, tmp_path: Path, client_of: ClientOf, admin: dict[str, str], *, cycles: int
) -> dict[str, Any]:
    async def loops() -> str | None:
        return "oracle: it fails"

    registered: list[ApplicationRegistry] = []
    manager = SandboxManager(
        driver=driver,
        config=SandboxSettings(drain_s=0),
        clock=FakeClock(),
        meter=NullMeter(),
        desired=lambda: [("desk", pool) for pool in registered[0].snapshot("desk").definition.pools_in_use],
    )
    async with stored_services(tmp_path, sandboxes=manager, probes={"loops": loops}) as services:
        registered.append(services.registry)
        client = await client_of(services)
        await manager.open()
        assert (await client.post(APPS, json=DESK, headers=admin)).status_code == 201
        for _ in range(cycles):
            await manager.run_cycle()
        found: dict[str, Any] = (await client.get(f"{APPS}/desk/status", headers=admin)).json()
        await manager.close()
        return found


async def test_an_application_is_initializing_until_the_workers_it_always_has_are_there(
    tmp_path: Path, client_of: ClientOf, admin: dict[str, str]
) -> None:
    before = await status_with(FakeDriver(), tmp_path / "a", client_of, admin, cycles=0)
    assert (before["status"], before["details"]["message"]) == (
        "INITIALIZING",
        "workers are being started in default",
    )
    after = await status_with(FakeDriver(), tmp_path / "b", client_of, admin, cycles=3)
    assert after["status"] == "ACTIVE"
    (pool,) = after["details"]["pools"]
    assert (pool["poolName"], pool["workers"], pool["minInstances"], pool["problem"]) == ("default", 2, 2, None)
    assert after["details"]["loopProblems"] == "oracle: it fails"


async def test_an_application_whose_sandboxes_do_not_start_is_degraded_and_says_why(
    tmp_path: Path, client_of: ClientOf, admin: dict[str, str]
) -> None:
    found = await status_with(NeverStartsDriver(), tmp_path, client_of, admin, cycles=3)
    assert found["status"] == "DEGRADED"
    assert found["details"]["sandboxProblems"]
    assert found["details"]["message"] == found["details"]["sandboxProblems"][0]
