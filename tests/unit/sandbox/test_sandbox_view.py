"""What people and Prometheus see of sandboxes, and the recycling of one by its id."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from pool_calls import Gate, run, settle
from sandbox_calls import manager_of

from uhlp.clock import FakeClock
from uhlp.errors import (
    CrashLoop,
    DeadlineExceeded,
    NoSandboxAvailable,
    SandboxDied,
    SandboxNotFound,
    SandboxOutOfMemory,
)
from uhlp.metering import NullMeter
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.driver import Sandbox, SandboxSpec, Usage
from uhlp.sandbox.drivers.fake import (
    DyingDriver,
    FakeDriver,
    FakeSandbox,
    HangingDriver,
    NeverStartsDriver,
    OutOfMemoryDriver,
    SlowDriver,
)

POOL = PoolDefinition(pool_name="default", max_instances=4)


class CountingMeter(NullMeter):
    """Keeps counts, gauges and numbers of observations by (name, labels after the pool's three)."""

    def __init__(self) -> None:
        self.values: Counter[tuple[str, ...]] = Counter()

    def counter(self, name: str, help_text: str, labels: Any = ()) -> Any:
        return _Counted(self.values, name)

    gauge = counter

    def histogram(self, name: str, help_text: str, labels: Any = (), buckets: Any = ()) -> Any:
        return _Counted(self.values, name)


class _Counted:
    def __init__(self, values: Counter[tuple[str, ...]], *key: str) -> None:
        self.values, self.key = values, key

    def labels(self, *labels: str) -> "_Counted":
        assert labels[:3] == ("shop", "default", "serving")
        return _Counted(self.values, *self.key, *labels[3:])

    def inc(self, amount: float = 1) -> None:
        self.values[self.key] += int(amount)

    def dec(self, amount: float = 1) -> None:
        self.values[self.key] -= int(amount)

    def set(self, value: float) -> None:
        self.values[self.key] = int(value)

    def observe(self, amount: float) -> None:
        self.values[self.key] += 1


async def test_a_sandbox_is_shown_with_its_workers_and_what_it_takes() -> None:
    gate = Gate()
    driver, clock = FakeDriver(gate), FakeClock()
    manager = manager_of(driver, clock=clock)
    await manager.open()
    gate.open("done")
    await run(manager, {"name": "done"}, pool=POOL)
    calls = [run(manager, {"name": name}, pool=POOL, handler_type="LLM") for name in ("x", "y")]
    await gate.until(3)
    clock.advance(7)
    (shown,) = await manager.sandboxes()
    workers = {worker.pop("lane"): worker for worker in shown.pop("workers")}
    assert shown == {
        "sandboxId": "fake-1", "appId": "shop", "poolName": "default", "group": "serving", "driver": "fake",
        "transport": "socketpair", "isolation": "none", "state": "ready", "ageS": 7.0, "requests": 3, "busy": 2,
        "cpuS": 0.0, "memoryBytes": 2 * 1024 * 1024, "problem": None,
    }  # fmt: skip
    assert workers["handler"] == {
        "workerId": "w1", "component": "parse", "state": "idle", "requests": 1, "busy": 0, "ageS": 7.0,
        "memoryBytes": 1024 * 1024,
    }  # fmt: skip
    assert (workers["model"]["component"], workers["model"]["state"], workers["model"]["busy"]) == (None, "busy", 2)
    assert await manager.sandboxes("other") == []
    gate.open("x", "y")
    await asyncio.gather(*calls)
    await manager.close()


class GoneSandbox(FakeSandbox):
    """It has ended, and nobody has noticed yet."""

    async def usage(self) -> Usage:
        raise SandboxDied


class GoneDriver(FakeDriver):
    async def start(self, spec: SandboxSpec) -> Sandbox:
        self.sandboxes.append(GoneSandbox("gone-1", spec, self._behaviour))
        return self.sandboxes[-1]


async def test_a_sandbox_that_cannot_be_asked_is_shown_without_what_it_takes() -> None:
    manager = manager_of(GoneDriver())
    await manager.open()
    await run(manager, pool=POOL)
    (shown,) = await manager.sandboxes()
    assert (shown["sandboxId"], shown["cpuS"], shown["memoryBytes"], len(shown["workers"])) == ("gone-1", None, None, 1)
    await manager.close()


async def test_a_sandbox_that_is_about_to_be_and_a_worker_nobody_has_used_are_shown() -> None:
    driver = SlowDriver()
    manager = manager_of(driver, desired=lambda: [("shop", POOL)])
    await manager.open()
    cycle = asyncio.ensure_future(manager.run_cycle())
    await settle()
    (starting,) = await manager.sandboxes()
    assert (starting["sandboxId"], starting["state"], starting["workers"]) == (None, "starting", [])
    driver.may_start.set()
    await cycle
    (ready,) = await manager.sandboxes()
    assert [(one["lane"], one["state"]) for one in ready["workers"]] == [(None, "spare")]
    await manager.close()


async def test_a_sandbox_that_does_not_say_what_it_takes_is_shown_without() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await run(manager)
    driver.sandboxes[0].usage = asyncio.Event().wait  # type: ignore[assignment, method-assign]
    driver.workers[0].memory_bytes = asyncio.Event().wait  # type: ignore[assignment, method-assign]
    (shown,) = await asyncio.wait_for(manager.sandboxes(), 10)
    assert (shown["cpuS"], shown["memoryBytes"], shown["workers"][0]["memoryBytes"]) == (None, None, None)
    await manager.close()


async def test_a_recycled_sandbox_finishes_its_calls_and_another_takes_the_next() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    gate.open("idle", "next")
    await run(manager, {"name": "idle"}, component_id="idle")
    running = run(manager, {"name": "running"}, handler_type="LLM")
    await gate.until(2)
    manager.recycle("fake-1", actor="admin")
    manager.recycle("fake-1", actor="admin")
    assert (await run(manager, {"name": "next"}, handler_type="LLM"))["data"] == "next"
    shown = {one["sandboxId"]: (one["state"], one["busy"]) for one in await manager.sandboxes()}
    assert shown == {"fake-1": ("draining", 1), "fake-2": ("ready", 0)}
    gate.open("running")
    assert (await running)["data"] == "running"
    await asyncio.wait_for(driver.sandboxes[0].ended.wait(), 30)
    await settle()
    assert [one["sandboxId"] for one in await manager.sandboxes()] == ["fake-2"]
    with pytest.raises(SandboxNotFound):
        manager.recycle("fake-1", actor="admin")
    await manager.close()


@pytest.mark.parametrize(
    ("driver_type", "error", "reason"),
    [
        (DyingDriver, SandboxDied, "exited"),
        (OutOfMemoryDriver, SandboxOutOfMemory, "oom"),
        (HangingDriver, DeadlineExceeded, "hung"),
    ],
)
async def test_crashes_are_counted_by_reason(driver_type: Any, error: type[Exception], reason: str) -> None:
    meter = CountingMeter()
    manager = manager_of(driver_type(), meter=meter)
    await manager.open()
    for _ in range(2):
        with pytest.raises(error):
            await run(manager, timeout_s=0.25 if error is DeadlineExceeded else 30)
    await settle()
    assert meter.values["uhlp_sandbox_crashes_total", reason] == 2
    assert not [key for key in meter.values if key[0] == "uhlp_sandbox_recycles_total"]
    await manager.close()


async def test_recycles_are_counted_by_reason() -> None:
    meter, driver, clock = CountingMeter(), FakeDriver(), FakeClock()
    pool = PoolDefinition(pool_name="default", max_requests_per_instance=2, idle_timeout_s=1e6)
    manager = manager_of(
        driver, clock=clock, meter=meter, max_worker_age_s=100, ping_timeout_s=0.5, desired=lambda: [("shop", pool)],
        warm_pools=0,
    )  # fmt: skip
    await manager.open()
    for _ in range(3):  # the third call finds a new worker
        await run(manager, pool=pool)
    driver.workers[-1].is_deaf = True
    clock.advance(11)
    await manager.run_cycle()
    await run(manager, pool=pool)
    driver.workers[-1].resident_bytes = 250 * 1024 * 1024
    await manager.run_cycle()
    await run(manager, pool=pool)
    clock.advance(101)
    await manager.run_cycle()
    await run(manager, pool=pool)
    manager.recycle(driver.sandboxes[-1].sandbox_id, actor="admin")
    await settle()
    counted = {key[1]: count for key, count in meter.values.items() if key[0] == "uhlp_sandbox_recycles_total"}
    assert counted == {"requests": 1, "unhealthy": 1, "memory": 1, "age": 1, "asked": 1}
    assert not [key for key in meter.values if key[0] == "uhlp_sandbox_crashes_total"]
    await manager.close()


async def test_claims_starts_and_the_queue_are_counted() -> None:
    gate, meter = Gate(), CountingMeter()
    driver = FakeDriver(gate)
    manager = manager_of(driver, meter=meter, max_queue=1)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    calls = [run(manager, {"name": 0}, pool=pool)]
    await gate.until(1)
    calls.append(run(manager, {"name": 1}, pool=pool))
    await settle()
    assert meter.values["uhlp_sandbox_queue_length",] == 1
    assert {state: meter.values["uhlp_sandbox_workers_by_state", state] for state in ("idle", "busy", "starting")} == {
        "idle": 0, "busy": 1, "starting": 0,
    }  # fmt: skip
    with pytest.raises(NoSandboxAvailable):
        await run(manager, {"name": 2}, pool=pool)
    gate.open(0, 1, 3)
    await asyncio.gather(*calls)
    await run(manager, {"name": 3}, pool=pool)
    outcomes = {outcome: meter.values["uhlp_sandbox_claims_total", outcome] for outcome in ("hit", "waited", "refused")}
    assert outcomes == {"hit": 1, "waited": 2, "refused": 1}
    assert meter.values["uhlp_sandbox_claim_wait_seconds", "waited"] == 2
    assert meter.values["uhlp_sandbox_queue_length",] == 0
    assert meter.values["uhlp_sandbox_starts_total",] == 1
    assert meter.values["uhlp_sandbox_start_stage_seconds", "sandbox"] == 1
    assert meter.values["uhlp_sandbox_start_stage_seconds", "worker"] == 1
    await manager.close()
    assert meter.values["uhlp_sandbox_workers",] == 0


async def test_failed_starts_and_refused_code_are_counted() -> None:
    meter = CountingMeter()
    manager = manager_of(NeverStartsDriver(), meter=meter)
    await manager.open()
    with pytest.raises(NoSandboxAvailable):
        await run(manager)
    assert meter.values["uhlp_sandbox_start_failures_total",] == 1
    await manager.close()
    meter = CountingMeter()
    manager = manager_of(DyingDriver(), clock=FakeClock(), meter=meter, crash_loop_after=1)
    await manager.open()
    with pytest.raises(SandboxDied):
        await run(manager)
    with pytest.raises(CrashLoop):
        await run(manager)
    assert meter.values["uhlp_sandbox_claims_total", "refused"] == 1
    await manager.close()
