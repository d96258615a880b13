"""Sandboxes as the administration, the health check and the panel show them, and what a full pool answers over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest

from uhlp.clock import FakeClock
from uhlp.errors import NoSandboxAvailable
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.routing.request import RoutedAnswer, RoutedRequest
from uhlp.sandbox.config import SandboxSettings
from uhlp.sandbox.drivers.fake import FakeDriver, NeverStartsDriver
from uhlp.sandbox.manager import AllocateSandboxRequest, AllocationStatus, SandboxManager
from uhlp.web.services import Services
from web.fakes import services
from web.panel_pages import text_of

POOL = PoolDefinition(pool_name="default", max_instances=1)

ClientOf = Callable[[Services], Awaitable[httpx.AsyncClient]]
ManagerOf = Callable[..., Awaitable[SandboxManager]]


@pytest.fixture
async def manager_of() -> AsyncIterator[ManagerOf]:
    """Makes open managers whose desired pool is `default` of shop."""
    opened: list[SandboxManager] = []

    async def make(driver: Any, **settings: Any) -> SandboxManager:
        manager = SandboxManager(
            driver=driver,
            config=SandboxSettings(drain_s=0, **settings),
            clock=FakeClock(),
            meter=NullMeter(),
            desired=lambda: [("shop", POOL)],
        )
        opened.append(manager)
        await manager.open()
        return manager

    yield make
    for manager in opened:
        await manager.close()


async def test_every_sandbox_and_pool_is_listed_with_what_the_driver_says(
    client_of: ClientOf, manager_of: ManagerOf, admin: dict[str, str]
) -> None:
    class Telling(FakeDriver):
        def status(self) -> dict[str, Any]:
            return {"images": {"uhlp-runner": {"state": "pulling", "percent": 40}}}

    manager = await manager_of(Telling())
    await manager.run_cycle()
    client = await client_of(services(sandboxes=manager))
    told = (await client.get("/admin/v1/sandboxes", headers=admin)).json()
    assert (told["driver"], told["isolation"]) == ("fake", "none")
    assert told["driverStatus"]["images"]["uhlp-runner"]["percent"] == 40
    assert [(one["sandboxId"], one["state"], len(one["workers"])) for one in told["sandboxes"]] == [
        ("fake-1", "ready", 1)
    ]
    assert [(one["appId"], one["workers"], one["problem"]) for one in told["pools"]] == [("shop", 1, None)]
    of_shop = (await client.get("/admin/v1/apps/shop/sandboxes", headers=admin)).json()
    assert of_shop == {"sandboxes": told["sandboxes"], "pools": told["pools"]}
    assert (await client.get("/admin/v1/apps/unknown/sandboxes", headers=admin)).status_code == 404


async def test_a_sandbox_is_recycled_by_its_id_and_by_an_admin_only(
    client_of: ClientOf, manager_of: ManagerOf, admin: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    driver = FakeDriver()
    manager = await manager_of(driver)
    await manager.run_cycle()
    client = await client_of(services(sandboxes=manager))
    assert (await client.post("/admin/v1/sandboxes/fake-1/recycle")).status_code == 401
    unknown = await client.post("/admin/v1/sandboxes/fake-7/recycle", headers=admin)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "SANDBOX_NOT_FOUND")
    done = await client.post("/admin/v1/sandboxes/fake-1/recycle", headers=admin)
    assert (done.status_code, done.json()) == (202, {"sandboxId": "fake-1", "state": "draining"})
    said = capsys.readouterr().out
    assert '"sandbox_id": "fake-1", "actor": "admin"' in said
    assert '"path": "/admin/v1/sandboxes/fake-1/recycle"' in said
    await manager.run_cycle()
    assert await driver.list_owned() == ["fake-2"]


async def test_an_application_whose_sandboxes_do_not_start_is_degraded_everywhere(
    client_of: ClientOf, manager_of: ManagerOf, admin: dict[str, str]
) -> None:
    manager = await manager_of(NeverStartsDriver())
    shown = services(sandboxes=manager)
    client = await client_of(shown)
    assert (await client.get("/admin/v1/apps/shop/status", headers=admin)).json()["status"] == "ACTIVE"
    await manager.run_cycle()
    told = (await client.get("/admin/v1/apps/shop/status", headers=admin)).json()
    assert (told["status"], told["details"]["sandboxProblems"]) == ("DEGRADED", manager.problems("shop"))
    assert told["details"]["message"] == "No sandbox of pool default starts: it never said hello."
    page = await text_of("/", shown)
    assert "DEGRADED" in page
    assert all(problem in page for problem in manager.problems("shop"))


async def test_isolation_none_is_said_by_the_health_check_and_the_panel(client_of: ClientOf) -> None:
    shown = services()
    client = await client_of(shown)
    told = (await client.get("/readyz")).json()["sandboxes"]
    assert told == {"driver": "fake", "isolation": "none", "missing": ["namespaces"]}
    page = await text_of("/", shown)
    assert "fake driver" in page
    assert "Missing: namespaces" in page


async def test_a_full_pool_is_503_with_retry_after(caller_of: ClientOf, manager_of: ManagerOf) -> None:
    manager = await manager_of(FakeDriver(), max_queue=0)

    class FromAPool:
        """Claims a worker for each request and keeps it."""

        async def handle(self, request: RoutedRequest) -> RoutedAnswer:
            claim = AllocateSandboxRequest(app_id="shop", required_pool_name="default", timeout_s=1)
            answer = await manager.allocate_sandbox(claim)
            assert answer.status is AllocationStatus.NO_INSTANCE_AVAILABLE
            assert isinstance(answer.error, NoSandboxAvailable)
            raise answer.error

    client = await caller_of(services(router=FromAPool()))
    answer = await client.post("/apps/shop/echo", json={"text": "hi"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "NO_SANDBOX_AVAILABLE")
    assert answer.headers["retry-after"] == "1"
