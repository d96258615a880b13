"""What the Docker driver keeps and gives up over time, without an engine."""

import asyncio
import socket
from types import SimpleNamespace
from typing import Any

import pytest

from uhlp.clock import FakeClock
from uhlp.errors import EngineUnavailable, SandboxDied
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.driver import SandboxSpec
from uhlp.sandbox.drivers.docker.container import EXPIRES_LABEL, INSTANCE_LABEL, SANDBOX_LABEL
from uhlp.sandbox.drivers.docker.engine import ContainerFacts, Engine
from uhlp.sandbox.drivers.docker.http_sandbox import HttpSandbox
from uhlp.sandbox.drivers.docker.orphans import Orphans
from uhlp.sandbox.drivers.docker.ping import ping_us
from uhlp.sandbox.drivers.docker.sandbox import WORKING_LIFE_S
from uhlp.sandbox.drivers.docker.spares import Spares

SPEC = SandboxSpec("shop", PoolDefinition(pool_name="default"), "serving")


class Spare:
    """A container that takes its time to end."""

    is_fit, kind, spec = True, "old", SPEC

    def __init__(self) -> None:
        self.is_stopping, self.may_end = asyncio.Event(), asyncio.Event()

    async def stop(self, reason: str) -> None:
        self.is_stopping.set()
        await self.may_end.wait()


async def nothing(*_: Any) -> Any:
    raise AssertionError("no spare was asked for")


async def test_a_spare_that_is_taken_while_another_is_ended_is_the_takers() -> None:
    spares, (first, second) = Spares(number=2, launch=nothing), (Spare(), Spare())
    assert spares.add(first)  # type: ignore[arg-type]  # as far as spares look
    assert spares.add(second)  # type: ignore[arg-type]
    tending = asyncio.create_task(spares.tend({"other"}))
    async with asyncio.timeout(5):
        await first.is_stopping.wait()
        assert spares.take("old", SPEC) is second
        assert spares.take("a kind that nobody has asked for before", SPEC) is None
        first.may_end.set()
        await tending
    assert not second.is_stopping.is_set()


async def test_kinds_that_come_and_go_leave_nothing_behind() -> None:
    spares = Spares(number=1, launch=nothing)
    for number in range(100):
        spare = Spare()
        spare.kind = f"kind {number}"
        spare.may_end.set()
        assert spares.take(spare.kind, SPEC) is None
        assert spares.add(spare)  # type: ignore[arg-type]  # as far as spares look
        if number % 3 == 0:
            assert spares.take(spare.kind, SPEC) is spare
        elif number % 3 == 1:
            spares.forget(spare)  # type: ignore[arg-type]
        else:
            await spares.tend({"other"})
        spares.forget(spare)  # type: ignore[arg-type]
        assert spares.status() == {}
    assert len(spares._ready) == 0


class ListedEngine(Engine):
    """An engine of which only the list of containers is asked."""

    def __init__(self, *found: ContainerFacts) -> None:
        super().__init__(url="unix:///nowhere")
        self.found, self.removed = list(found), list[str]()

    async def list_labelled(self, *labels: str) -> list[ContainerFacts]:
        return self.found

    async def remove(self, container: str) -> None:
        self.removed.append(container)


async def test_what_has_expired_is_removed_but_for_what_this_server_still_uses() -> None:
    clock = FakeClock()

    def expired(name: str, instance: str) -> ContainerFacts:
        labels = {INSTANCE_LABEL: instance, SANDBOX_LABEL: name, EXPIRES_LABEL: str(int(clock.now()) - 1)}
        return ContainerFacts(f"id of {name}", name, labels, 0.0, True)

    engine = ListedEngine(expired("used", "ours"), expired("left", "ours"), expired("used", "another"))
    await Orphans(engine=engine, instance="ours", grace_s=60.0, clock=clock).sweep({"used"})
    assert engine.removed == ["id of left", "id of used"]


async def test_a_sandbox_of_an_image_of_users_retires_before_its_containers_expire() -> None:
    clock = FakeClock()
    sandbox = HttpSandbox(
        sandbox_id="s", spec=SPEC, engine=Engine(url="unix:///nowhere"),
        config={"HostConfig": {"NetworkMode": "none"}}, port=8080, clock=clock, remove=nothing_left,
        on_end=lambda ended: None,
    )  # fmt: skip
    with pytest.raises(EngineUnavailable):
        await sandbox.start_worker()
    clock.advance(WORKING_LIFE_S)
    with pytest.raises(SandboxDied, match="too old"):
        await sandbox.start_worker()


async def nothing_left(name: str) -> None:
    """Removes a container that was never made."""


@pytest.mark.parametrize("is_closed", [True, False])
async def test_a_worker_that_answers_no_pings_is_no_reason_to_wait_for_ever(is_closed: bool) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        if is_closed:
            theirs.shutdown(socket.SHUT_RDWR)
        with pytest.raises(SandboxDied):
            await ping_us(SimpleNamespace(endpoint=ours), limit_s=0.05)  # type: ignore[arg-type]
