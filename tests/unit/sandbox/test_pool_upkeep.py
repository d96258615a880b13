"""A cycle of a pool: unfit workers are replaced, busy lanes get one ahead, failing starts are tried again."""

import asyncio
from typing import Any

import pytest
from pool_calls import Gate, run, settle
from sandbox_calls import manager_of

from uhlp.clock import FakeClock
from uhlp.errors import NoSandboxAvailable, SandboxDied
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.drivers.fake import FakeDriver, SlowDriver
from uhlp.sandbox.manager import SandboxManager

MIB = 1024 * 1024
POOL = PoolDefinition(pool_name="default", max_instances=4, idle_timeout_s=1_000)


def serving(driver: FakeDriver, clock: FakeClock, pool: PoolDefinition = POOL, **settings: Any) -> SandboxManager:
    """A manager whose only desired pool is `pool` of shop; no worker stands ready ahead of the first request."""
    return manager_of(driver, clock=clock, desired=lambda: [("shop", pool)], **{"warm_pools": 0, **settings})


async def test_an_idle_worker_that_does_not_answer_is_replaced() -> None:
    driver, clock = FakeDriver(), FakeClock()
    pool = PoolDefinition(pool_name="default", min_instances=2)
    manager = serving(driver, clock, pool, ping_timeout_s=0.5)
    await manager.open()
    await manager.run_cycle()
    driver.workers[0].is_deaf = True
    clock.advance(5)
    await manager.run_cycle()
    assert [worker.is_alive for worker in driver.workers] == [True, True]
    clock.advance(6)
    await manager.run_cycle()
    await settle()
    assert [worker.is_alive for worker in driver.workers] == [False, True, True]
    await manager.close()


async def test_a_pool_whose_upkeep_fails_keeps_no_other_from_its_own() -> None:
    driver, clock = FakeDriver(), FakeClock()
    pool = PoolDefinition(pool_name="default", min_instances=1)
    manager = manager_of(driver, clock=clock, desired=lambda: [("broken", pool), ("shop", pool)], ping_timeout_s=0.5)
    await manager.open()
    await manager.run_cycle()
    driver.workers[0].resident_bytes = "many"  # type: ignore[assignment]  # what only a broken driver says
    driver.workers[1].is_deaf = True
    clock.advance(11)
    await manager.run_cycle()
    await settle()
    assert [worker.is_alive for worker in driver.workers] == [True, False, True]
    assert [sandbox.spec.app_id for sandbox in driver.sandboxes] == ["broken", "shop"]
    await manager.close()


async def test_a_worker_that_is_called_while_it_is_asked_is_left_alone() -> None:
    gate = Gate()
    driver, clock = FakeDriver(gate), FakeClock()
    manager = serving(driver, clock, ping_timeout_s=0.5)
    await manager.open()
    gate.open("first")
    await run(manager, {"name": "first"}, pool=POOL)
    driver.workers[0].is_deaf = True
    clock.advance(11)
    cycle = asyncio.ensure_future(manager.run_cycle())
    await settle()
    call = run(manager, {"name": "second"}, pool=POOL)
    await gate.until(2)
    await cycle
    gate.open("second")
    assert (await call)["data"] == "second"
    assert len(driver.workers) == 1
    await manager.close()


async def test_a_worker_that_grows_is_replaced_though_it_is_far_from_its_limit() -> None:
    driver, clock = FakeDriver(), FakeClock()
    manager = serving(driver, clock)
    await manager.open()
    await run(manager, pool=POOL)
    driver.workers[0].resident_bytes = 40 * MIB
    await manager.run_cycle()
    await run(manager, pool=POOL)
    driver.workers[0].resident_bytes = 100 * MIB
    await manager.run_cycle()
    assert driver.workers[0].is_alive
    driver.workers[0].resident_bytes = 110 * MIB
    await manager.run_cycle()
    await settle()
    assert not driver.workers[0].is_alive
    await manager.close()


async def test_a_worker_that_is_never_idle_is_still_recycled_by_age_once_its_calls_have_ended() -> None:
    gate = Gate()
    driver, clock = FakeDriver(gate), FakeClock()
    manager = serving(driver, clock, max_worker_age_s=100)
    await manager.open()
    old = run(manager, {"name": "old"}, pool=POOL, handler_type="LLM")
    await gate.until(1)
    clock.advance(101)
    await manager.run_cycle()
    new = run(manager, {"name": "new"}, pool=POOL, handler_type="LLM")
    await gate.until(2)
    assert [worker.received.count("execute") for worker in driver.workers] == [1, 1]
    gate.open("old", "new")
    assert [(await call)["data"] for call in (old, new)] == ["old", "new"]
    await settle()
    assert [worker.is_alive for worker in driver.workers] == [False, True]
    await manager.close()


async def test_a_lane_that_stays_busy_gets_one_worker_ahead_of_need_up_to_its_maximum() -> None:
    gate = Gate()
    driver, clock = FakeDriver(gate), FakeClock()
    manager = serving(driver, clock, PoolDefinition(pool_name="default", max_instances=2))
    await manager.open()
    calls = [run(manager, {"name": 0}, pool=PoolDefinition(pool_name="default", max_instances=2))]
    await gate.until(1)
    await manager.run_cycle()
    assert len(driver.workers) == 1
    await manager.run_cycle()
    assert [status["spares"] for status in manager.status()] == [1]
    await manager.run_cycle()
    assert len(driver.workers) == 2
    calls.append(run(manager, {"name": 1}, pool=PoolDefinition(pool_name="default", max_instances=2)))
    await gate.until(2)
    await manager.run_cycle()
    await manager.run_cycle()
    assert len(driver.workers) == 2
    gate.open(0, 1)
    await asyncio.gather(*calls)
    await manager.close()


async def test_requests_that_arrive_during_a_pools_first_start_wait_for_it() -> None:
    driver, clock = SlowDriver(), FakeClock()
    manager = serving(driver, clock, warm_pools=1)
    await manager.open()
    cycle = asyncio.ensure_future(manager.run_cycle())
    await settle()
    calls = [run(manager, {"n": 1}, pool=POOL), run(manager, {"n": 2}, pool=POOL, handler_type="LLM")]
    await settle()
    driver.may_start.set()
    assert [(await call)["data"] for call in calls] == [{"n": 1}, {"n": 2}]
    await cycle
    assert (driver.attempts, len(driver.sandboxes)) == (1, 1)
    assert len(driver.workers) == 2  # a handler and a model call never share one
    await manager.close()


async def test_a_slow_start_holds_up_no_cycle() -> None:
    driver, clock = SlowDriver(), FakeClock()
    desired = [(name, POOL) for name in ("shop", "forum")]
    manager = manager_of(driver, clock=clock, desired=lambda: desired)
    await manager.open()
    await asyncio.wait_for(manager.run_cycle(), 30)
    assert driver.attempts == 2
    driver.may_start.set()
    await manager.close()


class FailsFor(FakeDriver):
    """The first starts fail."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures = failures

    async def start(self, spec: Any) -> Any:
        self.failures -= 1
        if self.failures >= 0:
            raise SandboxDied("the image is not there.")
        return await super().start(spec)


async def test_failing_starts_are_a_problem_that_ends_by_itself_without_a_request() -> None:
    driver, clock = FailsFor(3), FakeClock()
    manager = serving(driver, clock, warm_pools=1)
    await manager.open()
    for _ in range(3):
        await manager.run_cycle()
        assert manager.problems("shop") == ["No sandbox of pool default starts: the image is not there."]
        assert manager.problems("other") == []
        clock.advance(31)
    await manager.run_cycle()
    assert manager.problems("shop") != []  # it lives, but whether it stays is not known yet
    clock.advance(10)
    await manager.run_cycle()
    assert manager.problems("shop") == []
    await manager.close()


async def test_an_answer_ends_the_problem_at_once() -> None:
    driver, clock = FailsFor(1), FakeClock()
    manager = serving(driver, clock)
    await manager.open()
    with pytest.raises(NoSandboxAvailable):
        await run(manager, pool=POOL)
    assert manager.problems("shop") != []
    clock.advance(1)
    await run(manager, pool=POOL)
    assert manager.problems("shop") == []
    await manager.close()


async def test_what_is_desired_no_more_ends_in_the_next_cycle_with_its_calls() -> None:
    gate = Gate()
    driver, clock = FakeDriver(gate), FakeClock()
    desired = [("shop", POOL)]
    manager = manager_of(driver, clock=clock, desired=lambda: desired)
    await manager.open()
    await manager.run_cycle()
    gate.open("done", "trial")
    await asyncio.gather(
        run(manager, {"name": "done"}, pool=POOL, component_id="a"),
        run(manager, {"name": "trial"}, pool=POOL, group="trial"),
    )
    running = run(manager, {"name": "running"}, pool=POOL, component_id="b")
    await gate.until(3)
    desired.clear()
    await manager.run_cycle()
    assert [(one["group"], one["workers"]) for one in manager.status()] == [("serving", 1)]
    gate.open("running")
    assert (await running)["data"] == "running"
    await manager.run_cycle()
    assert manager.status() == []
    assert await driver.list_owned() == []
    await manager.close()


async def test_a_pool_that_idles_out_while_another_is_looked_at_leaves_no_sandbox_behind() -> None:
    driver, clock, looked_at = FakeDriver(), FakeClock(), asyncio.Event()

    async def tells_late() -> int:
        await looked_at.wait()
        return MIB

    pool = PoolDefinition(pool_name="default", idle_timeout_s=60)
    manager = manager_of(
        driver, clock=clock, desired=lambda: [("slow", pool), ("shop", pool)], warm_pools=0, ping_timeout_s=30
    )
    await manager.open()
    await asyncio.gather(run(manager, app_id="slow", pool=pool), run(manager, app_id="shop", pool=pool))
    driver.sandboxes[0].workers[0].memory_bytes = tells_late  # type: ignore[method-assign]  # a sandbox that is busy
    clock.advance(61)
    cycle = asyncio.ensure_future(manager.run_cycle())
    await settle()
    looked_at.set()
    await cycle
    await settle()
    await manager.run_cycle()
    assert [sandbox.ended.is_set() for sandbox in driver.sandboxes] == [True, True]
    assert manager.status() == []
    await manager.close()


async def test_a_changed_minimum_holds_from_the_next_cycle_on() -> None:
    driver, clock = FakeDriver(), FakeClock()
    desired = [("shop", POOL)]
    manager = manager_of(driver, clock=clock, desired=lambda: desired)
    await manager.open()
    await manager.run_cycle()
    desired[0] = ("shop", POOL.model_copy(update={"min_instances": 3}))
    await manager.run_cycle()
    assert [(one["workers"], one["minInstances"]) for one in manager.status()] == [(3, 3)]
    assert len(driver.sandboxes) == 1
    await manager.close()
