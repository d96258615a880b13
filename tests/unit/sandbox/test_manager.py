"""The manager and its pools: claims, fairness, failure, recycling, closing. Fake workers on real streams."""

import asyncio
from typing import Any

import pytest
from pool_calls import Gate, run, settle
from sandbox_calls import POOL, manager_of

from uhlp.clock import FakeClock
from uhlp.errors import DeadlineExceeded, NoSandboxAvailable, SandboxDied, SandboxOutOfMemory, ShuttingDown
from uhlp.models.definition import PoolDefinition
from uhlp.sandbox.drivers.fake import (
    DyingDriver,
    FakeDriver,
    GarbageDriver,
    HangingDriver,
    NeverStartsDriver,
    OutOfMemoryDriver,
    WrongRequestDriver,
)
from uhlp.sandbox.drivers.fake_worker import FakeWorker, response
from uhlp.sandbox.manager import AllocateSandboxRequest, AllocationStatus, ReleaseSandboxRequest, SandboxManager
from uhlp.sandbox.workforce import REFILL_AFTER_S

LLM = "LLM"


async def test_one_worker_serves_call_after_call() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    for n in range(5):
        assert (await run(manager, {"n": n}))["data"] == {"n": n}
    assert len(driver.workers) == 1
    await manager.close()


async def test_handlers_have_a_worker_each_up_to_the_maximum_and_wait_in_order() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    calls = [run(manager, {"name": n}) for n in range(6)]
    await gate.until(2)
    await settle()
    assert gate.entered == [0, 1]
    for n in range(6):
        gate.open(n)
        await calls[n]
    assert gate.entered == [0, 1, 2, 3, 4, 5]
    assert len(driver.workers) == 2
    assert len(driver.sandboxes) == 1
    await manager.close()


async def test_a_busy_application_does_not_hold_up_another() -> None:
    gate = Gate()
    manager = manager_of(FakeDriver(gate))
    await manager.open()
    greedy = [run(manager, {"name": n}, app_id="greedy") for n in range(20)]
    gate.open("modest")
    assert (await run(manager, {"name": "modest"}, app_id="modest"))["data"] == "modest"
    gate.open(*range(20))
    await asyncio.gather(*greedy)
    await manager.close()


async def test_callers_of_one_pool_take_turns() -> None:
    gate = Gate()
    manager = manager_of(FakeDriver(gate))
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    order = ["a1", "a2", "b1", "a3", "b2"]
    calls = [run(manager, {"name": name}, pool=pool) for name in order]
    gate.open(*order)
    await asyncio.gather(*calls)
    assert gate.entered == order
    await manager.close()


async def where(worker: FakeWorker, request: dict) -> dict:
    """A behaviour that answers with its worker and what runs there."""
    return response(request, worker.worker_id)


async def test_a_worker_runs_the_code_of_one_component_for_life() -> None:
    driver = FakeDriver(where)
    manager = manager_of(driver)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=4)
    seen = {
        name: {(await run(manager, pool=pool, component_id=name[0], code=name.encode()))["data"] for _ in range(2)}
        for name in ("a1", "b1", "a2")
    }
    again = await run(manager, pool=pool, component_id="b", code=b"b1")
    other = await run(manager, pool=pool, component_id="c", code=b"b1")
    assert all(len(workers) == 1 for workers in seen.values())
    assert len(set.union(*seen.values())) == 3
    assert again["data"] in seen["b1"]
    assert other["data"] not in set.union(*seen.values())
    await manager.close()


async def test_at_the_maximum_the_least_recently_used_idle_worker_makes_room() -> None:
    driver = FakeDriver(where)
    manager = manager_of(driver)
    await manager.open()
    for name in ("a", "b", "a", "c"):
        await run(manager, component_id=name)
    assert [worker.is_alive for worker in driver.workers] == [True, False, True]
    await run(manager, component_id="a")
    assert len(driver.workers) == 3
    await asyncio.gather(*(run(manager, component_id=name) for name in "abcdefgh" * 3))
    assert sum(worker.is_alive for worker in driver.workers) <= 2
    await manager.close()


async def test_one_worker_makes_room_for_one_however_long_its_end_takes() -> None:
    driver, clock, may_end = FakeDriver(where), FakeClock(), asyncio.Event()
    manager = manager_of(driver, clock=clock)
    await manager.open()
    for name in ("a", "b"):
        await run(manager, component_id=name)
    kill = driver.workers[0].kill

    async def slow_kill() -> Any:
        await may_end.wait()
        return await kill()

    driver.workers[0].kill = slow_kill
    call = run(manager, component_id="c")
    await settle()
    clock.advance(1)  # out of patience
    may_end.set()
    await call
    assert [worker.is_alive for worker in driver.workers] == [False, True, True]
    await manager.close()


async def test_a_worker_goes_on_with_its_own_callers_until_the_one_before_them_is_out_of_patience() -> None:
    gate, clock = Gate(), FakeClock()
    driver = FakeDriver(gate)
    manager = manager_of(driver, clock=clock)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    order = ["a1", "b1", "a2", "a3", "a4", "b2"]
    calls = [run(manager, {"name": name}, pool=pool, component_id=name[0], timeout_s=60) for name in order]
    gate.open("a1", "a2")
    await gate.until(3)
    await settle()
    assert gate.entered == ["a1", "a2", "a3"]
    clock.advance(1)
    gate.open(*order)
    await asyncio.gather(*calls)
    assert gate.entered == ["a1", "a2", "a3", "b1", "b2", "a4"]
    await manager.close()


async def test_an_idle_worker_ends_for_another_component_only_when_its_own_are_busy_for_long() -> None:
    gate, clock = Gate(), FakeClock()
    driver = FakeDriver(gate)
    manager = manager_of(driver, clock=clock)
    await manager.open()
    gate.open("b", "a2")
    first = run(manager, {"name": "a1"}, component_id="a", timeout_s=60)
    await run(manager, {"name": "b"}, component_id="b")
    second = run(manager, {"name": "a2"}, component_id="a", timeout_s=60)
    await settle()
    assert [worker.is_alive for worker in driver.workers] == [True, True]
    clock.advance(1)
    assert (await second)["data"] == "a2"
    assert [worker.is_alive for worker in driver.workers] == [True, False, True]
    gate.open("a1")
    await first
    await manager.close()


async def test_when_no_worker_starts_only_those_whom_none_can_serve_are_refused() -> None:
    gate, clock = Gate(), FakeClock()
    driver = FakeDriver(gate)
    manager = manager_of(driver, clock=clock)
    await manager.open()
    busy = run(manager, {"name": "busy"}, component_id="a")
    await gate.until(1)
    driver.start = driver.sandboxes[0].start_worker = refuse_to_start
    with pytest.raises(NoSandboxAvailable):
        await run(manager, {"name": "b"}, component_id="b")
    waiting = run(manager, {"name": "waits"}, component_id="a")
    await settle()
    with pytest.raises(NoSandboxAvailable):
        await run(manager, {"name": "b"}, component_id="b")
    gate.open("busy", "waits")
    assert [(await call)["data"] for call in (busy, waiting)] == ["busy", "waits"]
    await manager.close()


async def test_model_calls_of_all_components_share_a_worker() -> None:
    driver = FakeDriver(where)
    manager = manager_of(driver)
    await manager.open()
    answers = [await run(manager, handler_type=LLM, component_id=name, code=name.encode()) for name in "abc"]
    assert len({answer["data"] for answer in answers}) == 1
    await manager.close()


async def test_model_calls_share_one_worker_and_never_one_that_ran_a_handler() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    gate.open("handler")
    await run(manager, {"name": "handler"})
    calls = [run(manager, {"name": n}, handler_type=LLM) for n in range(50)]
    await gate.until(51)
    assert [len(worker.received) for worker in driver.workers] == [2, 51]
    gate.open(*range(50))
    assert [answer["data"] for answer in await asyncio.gather(*calls)] == list(range(50))
    await manager.close()


@pytest.mark.parametrize(("asks_first", "executions"), [(False, 2), (True, 1)])
async def test_a_prompt_whose_worker_dies_runs_on_another_unless_it_has_asked_the_model(
    asks_first: bool, executions: int
) -> None:
    executed = 0

    async def first_one_dies(worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal executed
        executed += 1
        if asks_first:
            await worker.call_tool(request["requestId"], "core.llm.generate", {})
        if worker.worker_id == "w1":
            worker.end("exited")
            return None
        return response(request, worker.worker_id)

    async def answer(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {}

    manager = manager_of(FakeDriver(first_one_dies))
    await manager.open()
    call = run(manager, handler_type=LLM, call_tool=answer)
    if asks_first:
        with pytest.raises(SandboxDied):
            await call
    else:
        assert (await call)["data"] == "w2"
    assert executed == executions
    await manager.close()


async def test_model_calls_respect_the_pools_concurrency() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=2, concurrency=3)
    calls = [run(manager, {"name": n}, handler_type=LLM, pool=pool) for n in range(8)]
    await gate.until(6)
    await settle()
    assert len(gate.entered) == 6
    gate.open(*range(8))
    await asyncio.gather(*calls)
    assert len(driver.workers) == 2
    await manager.close()


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    gate = Gate()
    manager = manager_of(FakeDriver(gate), max_queue=3)
    await manager.open()
    calls = [run(manager, {"name": 0}), run(manager, {"name": 1})]
    await gate.until(2)
    calls += [run(manager, {"name": n}) for n in range(2, 5)]
    await settle()
    with pytest.raises(NoSandboxAvailable) as refused:
        await run(manager, {"name": 5})
    assert refused.value.retry_after_s
    gate.open(*range(5))
    assert [answer["data"] for answer in await asyncio.gather(*calls)] == [0, 1, 2, 3, 4]
    await manager.close()


async def test_a_caller_whose_time_runs_out_in_the_queue_is_told_and_holds_no_place() -> None:
    gate = Gate()
    manager = manager_of(FakeDriver(gate))
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    first = run(manager, {"name": 1}, pool=pool)
    await gate.until(1)
    with pytest.raises(NoSandboxAvailable):
        await run(manager, {"name": 2}, pool=pool, timeout_s=0.02)
    last = run(manager, {"name": 3}, pool=pool)
    gate.open(1, 2, 3)
    await asyncio.gather(first, last)
    assert gate.entered == [1, 3]
    await manager.close()


async def test_a_handler_that_waited_for_longer_than_it_could_run_is_not_said_to_be_slow() -> None:
    gate = Gate()
    clock = FakeClock()
    driver = FakeDriver(gate)
    manager = manager_of(driver, clock=clock)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    first, second = run(manager, {"name": 1}, pool=pool), run(manager, {"name": 2}, pool=pool, timeout_s=30.0)
    await gate.until(1)
    await settle()
    clock.advance(29.9)
    gate.open(1)
    await first
    with pytest.raises(NoSandboxAvailable, match="too late") as refused:
        await second
    assert refused.value.retry_after_s
    assert gate.entered == [1, 2]
    await settle()
    assert not driver.workers[0].is_alive
    await manager.close()


async def test_a_worker_that_dies_fails_its_own_call_only_and_is_replaced() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    doomed, lucky = run(manager, {"name": "doomed"}), run(manager, {"name": "lucky"})
    await gate.until(2)
    driver.workers[0].end("exited")
    with pytest.raises(SandboxDied):
        await doomed
    gate.open("lucky", "next")
    assert (await lucky)["data"] == "lucky"
    assert (await run(manager, {"name": "next"}))["data"] == "next"
    await manager.close()


@pytest.mark.parametrize(
    ("driver_type", "error"),
    [
        (DyingDriver, SandboxDied),
        (OutOfMemoryDriver, SandboxOutOfMemory),
        (GarbageDriver, SandboxDied),
        (WrongRequestDriver, SandboxDied),
        (HangingDriver, DeadlineExceeded),
    ],
)
@pytest.mark.parametrize("handler_type", ["JIT", "LLM"])
async def test_misbehaviour_is_a_typed_error_and_the_pool_stays_whole(
    driver_type: type[FakeDriver], error: type[Exception], handler_type: str
) -> None:
    driver = driver_type()
    manager = manager_of(driver)
    await manager.open()
    for _ in range(3):
        with pytest.raises(error):
            await run(manager, handler_type=handler_type, timeout_s=0.25 if error is DeadlineExceeded else 30)
    await settle()
    assert manager.status()[0]["busy"] == 0
    if handler_type == "JIT":
        assert not any(worker.is_alive for worker in driver.workers)
    await manager.close()


async def test_a_sandbox_that_ended_is_replaced_at_the_next_use() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await run(manager)
    await driver.sandboxes[0].stop("the machine ended it")
    await settle()
    assert (await run(manager, {"n": 1}))["data"] == {"n": 1}
    assert len(driver.sandboxes) == 2
    await manager.close()


async def refuse_to_start(*_: Any) -> Any:
    raise SandboxDied("No space left on device")


async def test_a_sandbox_that_cannot_fork_is_replaced_and_its_calls_finish() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    gate.open("idle", "new")
    await run(manager, {"name": "idle"}, component_id="idle")
    running = run(manager, {"name": "running"}, component_id="running", handler_type=LLM)
    await gate.until(2)
    full = driver.sandboxes[0]
    full.start_worker = refuse_to_start
    assert (await run(manager, {"name": "new"}, component_id="new"))["data"] == "new"
    assert len(driver.sandboxes) == 2
    assert [worker.is_alive for worker in full.workers] == [False, True]
    assert not full.ended.is_set()
    gate.open("running")
    assert (await running)["data"] == "running"
    await asyncio.wait_for(full.ended.wait(), 30)
    await manager.close()


async def test_many_first_calls_start_one_sandbox() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await asyncio.gather(*(run(manager) for _ in range(30)))
    assert len(driver.sandboxes) == 1
    assert len(driver.workers) <= 2
    await manager.close()


async def test_starts_that_fail_back_off_and_say_why() -> None:
    driver, clock = NeverStartsDriver(), FakeClock()
    manager = manager_of(driver, clock=clock, backoff_initial_s=1.0)
    await manager.open()
    with pytest.raises(NoSandboxAvailable, match="it never said hello") as refused:
        await run(manager)
    assert refused.value.retry_after_s == pytest.approx(1.0)
    for _ in range(5):
        with pytest.raises(NoSandboxAvailable):
            await run(manager)
    assert driver.attempts == 1
    clock.advance(1.1)
    with pytest.raises(NoSandboxAvailable) as refused:
        await run(manager)
    assert driver.attempts == 2
    assert refused.value.retry_after_s == pytest.approx(2.0)
    assert manager.status()[0]["problem"]
    await manager.close()


async def test_a_driver_that_recovers_serves_again() -> None:
    class StartsAtTheSecondAttempt(FakeDriver):
        attempts = 0

        async def start(self, spec: Any) -> Any:
            self.attempts += 1
            if self.attempts == 1:
                raise RuntimeError("the engine is down")
            return await super().start(spec)

    driver, clock = StartsAtTheSecondAttempt(), FakeClock()
    manager = manager_of(driver, clock=clock)
    await manager.open()
    with pytest.raises(NoSandboxAvailable, match="RuntimeError"):
        await run(manager)
    clock.advance(1)
    assert (await run(manager, {"n": 1}))["data"] == {"n": 1}
    await manager.close()


async def test_a_fresh_worker_serves_one_call_and_ends() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    for _ in range(3):
        await run(manager, group="trial", fresh=True)
    assert [worker.received.count("execute") for worker in driver.workers] == [1, 1, 1]
    await settle()
    assert not any(worker.is_alive for worker in driver.workers)
    await manager.close()


async def test_a_fresh_call_displaces_idle_used_workers() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await asyncio.gather(*(run(manager, group="trial") for _ in range(4)))
    await asyncio.gather(*(run(manager, group="trial", fresh=True) for _ in range(4)))
    assert sum(worker.is_alive for worker in driver.workers) <= 2
    await manager.close()


async def test_serving_and_trial_never_share_a_sandbox() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await asyncio.gather(run(manager, group="serving"), run(manager, group="trial"), run(manager, app_id="other"))
    assert len({(sandbox.spec.app_id, sandbox.spec.group) for sandbox in driver.sandboxes}) == 3
    await manager.close()


async def test_workers_are_recycled_after_their_share_of_calls() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1, max_requests_per_instance=2)
    for _ in range(6):
        await run(manager, pool=pool)
    assert [worker.received.count("execute") for worker in driver.workers] == [2, 2, 2]
    for _ in range(4):
        await run(manager, pool=pool, handler_type=LLM)
    assert [worker.received.count("execute") for worker in driver.workers] == [2, 2, 2, 2, 2]
    await manager.close()


async def test_numbers_of_a_pool_change_in_place_and_limits_make_another() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await run(manager, pool=POOL)
    await run(manager, pool=POOL.model_copy(update={"max_instances": 9}))
    assert len(driver.sandboxes) == 1
    await run(manager, pool=PoolDefinition.model_validate({"poolName": "default", "resourceLimits": {"cpuLimit": "2"}}))
    assert len(driver.sandboxes) == 2
    await manager.close()


async def test_a_cycle_keeps_the_minimum_and_ends_what_idles() -> None:
    driver, clock = FakeDriver(), FakeClock()
    pool = PoolDefinition(pool_name="default", min_instances=1, max_instances=4, idle_timeout_s=10)
    desired = [("shop", pool)]
    manager = manager_of(driver, clock=clock, desired=lambda: desired)
    await manager.open()
    await manager.run_cycle()
    assert [worker.is_alive for worker in driver.workers] == [True]
    gathered = [run(manager, pool=pool) for _ in range(4)]
    await asyncio.gather(*gathered, run(manager, pool=pool, group="trial"))
    clock.advance(11)
    await manager.run_cycle()
    await settle()
    assert [status["workers"] for status in manager.status()] == [1, 0]
    await manager.run_cycle()
    assert [status["group"] for status in manager.status()] == ["serving"]
    desired.clear()
    await manager.run_cycle()
    await settle()
    await manager.run_cycle()
    assert manager.status() == []
    assert await driver.list_owned() == []
    await manager.close()


async def test_a_cycle_starts_one_worker_ahead_of_a_pools_first_request_and_lets_it_idle_out() -> None:
    driver, clock = FakeDriver(), FakeClock()
    pool = PoolDefinition(pool_name="default", idle_timeout_s=10)
    desired = [("shop", pool), ("forum", pool), ("blog", pool)]
    manager = manager_of(driver, clock=clock, desired=lambda: desired, warm_pools=2)
    await manager.open()
    await manager.run_cycle()
    await manager.run_cycle()
    assert [(status["appId"], status["workers"]) for status in manager.status()] == [("shop", 1), ("forum", 1)]
    for _ in range(2):
        clock.advance(11)
        await manager.run_cycle()
        await settle()
    assert manager.status() == []
    await manager.run_cycle()
    assert len(driver.workers) == 2
    await manager.close()


async def test_a_cycle_replaces_a_worker_that_died_idle() -> None:
    driver, clock = FakeDriver(), FakeClock()
    pool = PoolDefinition(pool_name="default", min_instances=2)
    manager = manager_of(driver, clock=clock, desired=lambda: [("shop", pool)])
    await manager.open()
    await manager.run_cycle()
    clock.advance(5)
    driver.workers[0].end("killed")
    await settle()
    await manager.run_cycle()
    assert [worker.is_alive for worker in driver.workers] == [False, True, True]
    await manager.close()


async def test_old_and_large_workers_are_replaced() -> None:
    driver, clock = FakeDriver(), FakeClock()
    manager = manager_of(driver, clock=clock, max_worker_age_s=100)
    await manager.open()
    pool = PoolDefinition.model_validate({"poolName": "default", "idleTimeoutS": 1000})
    await run(manager, pool=pool)
    await manager.run_cycle()
    assert driver.workers[0].is_alive
    clock.advance(101)
    await manager.run_cycle()
    await settle()
    assert not driver.workers[0].is_alive
    await run(manager, pool=pool)
    driver.workers[1].memory_bytes = lambda: asyncio.sleep(0, 250 * 1024 * 1024)
    await manager.run_cycle()
    await settle()
    assert not driver.workers[1].is_alive
    await manager.close()


@pytest.mark.parametrize("handler_type", ["JIT", "LLM"])
async def test_a_caller_that_leaves_frees_its_place(handler_type: str) -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1, concurrency=1)
    gone = run(manager, {"name": "gone"}, pool=pool, handler_type=handler_type)
    await gate.until(1)
    queued = run(manager, {"name": "queued"}, pool=pool, handler_type=handler_type)
    await settle()
    queued.cancel()
    gone.cancel()
    gate.open("next")
    assert (await run(manager, {"name": "next"}, pool=pool, handler_type=handler_type))["data"] == "next"
    assert gate.entered == ["gone", "next"]
    if handler_type == "JIT":
        assert not driver.workers[0].is_alive
    else:
        assert driver.workers[0].cancelled
    await manager.close()


async def test_a_caller_that_leaves_at_the_moment_of_its_turn_passes_it_on() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    claim = AllocateSandboxRequest(app_id="shop", required_pool_name="default", pool=pool, identity=("c", "0"))
    held = await manager.allocate_sandbox(claim)
    leaving, staying = (asyncio.ensure_future(manager.allocate_sandbox(claim)) for _ in range(2))
    await settle()
    manager.release_sandbox(ReleaseSandboxRequest(instance_id=held.instance_id or ""))
    leaving.cancel()
    kept = await asyncio.wait_for(staying, 30)
    assert kept.status is AllocationStatus.ALLOCATED
    manager.release_sandbox(ReleaseSandboxRequest(instance_id=kept.instance_id or ""))
    await manager.close()


async def test_allocation_speaks_the_seeds_statuses() -> None:
    manager = manager_of(FakeDriver(), desired=lambda: [("shop", POOL)], max_queue=0, warm_pools=0)
    await manager.open()
    unknown = await manager.allocate_sandbox(AllocateSandboxRequest(app_id="shop", required_pool_name="gpu"))
    assert unknown.status == "POOL_NOT_FOUND"
    await manager.run_cycle()
    refused = await manager.allocate_sandbox(AllocateSandboxRequest(app_id="shop", required_pool_name="default"))
    assert refused.status == "NO_INSTANCE_AVAILABLE"
    assert refused.error
    await manager.close()
    manager = manager_of(FakeDriver(), desired=lambda: [("shop", POOL)])
    await manager.open()
    claimed = await manager.allocate_sandbox(AllocateSandboxRequest(app_id="shop", required_pool_name="default"))
    assert claimed.status == "ALLOCATED"
    assert manager.status()[0]["busy"] == 1
    for _ in range(2):  # a second release changes nothing
        manager.release_sandbox(ReleaseSandboxRequest(instance_id=claimed.instance_id or ""))
    assert manager.status()[0]["busy"] == 0
    await manager.close()


async def test_closing_lets_calls_in_flight_finish_refuses_others_and_leaves_nothing() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=1)
    inside = run(manager, {"name": "inside"}, pool=pool)
    await gate.until(1)
    waiting = run(manager, {"name": "waiting"}, pool=pool)
    await settle()
    closing = asyncio.ensure_future(manager.close())
    with pytest.raises(ShuttingDown):
        await waiting
    with pytest.raises(ShuttingDown):
        await run(manager, {"name": "late"}, pool=pool)
    gate.open("inside")
    assert (await inside)["data"] == "inside"
    await closing
    assert not any(worker.is_alive for worker in driver.workers)
    assert await driver.list_owned() == []


async def test_closing_does_not_wait_for_a_call_that_hangs_beyond_the_drain_time() -> None:
    gate = Gate()
    manager = manager_of(FakeDriver(gate), drain_s=0.02)
    await manager.open()
    hanging = run(manager, {"name": "hanging"}, timeout_s=60)
    await gate.until(1)
    await asyncio.wait_for(manager.close(), 30)
    with pytest.raises(SandboxDied):
        await hanging


async def test_stopping_an_application_ends_its_sandboxes_only() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    await asyncio.gather(run(manager), run(manager, group="trial"), run(manager, app_id="other"))
    await manager.stop_application("shop")
    assert [status["appId"] for status in manager.status()] == ["other"]
    assert len(await driver.list_owned()) == 1
    await manager.close()


async def test_a_worker_that_outlives_its_kill_takes_its_sandbox_down() -> None:
    gate = Gate()
    driver = FakeDriver(gate)
    manager = manager_of(driver, kill_timeout_s=0.02)
    await manager.open()
    call = run(manager, {"name": "stubborn"}, timeout_s=0.5)
    await gate.until(1)
    sandbox, kill = driver.sandboxes[0], driver.workers[0].kill
    driver.workers[0].kill = lambda: kill() if sandbox.ended.is_set() else asyncio.Event().wait()
    with pytest.raises(DeadlineExceeded):
        await call
    await asyncio.wait_for(sandbox.ended.wait(), 30)
    await manager.close()


@pytest.mark.parametrize("handler_type", ["JIT", "LLM"])
async def test_a_worker_that_was_refused_memory_serves_no_further_call(handler_type: str) -> None:
    async def refuse(worker: FakeWorker, request: dict) -> dict:
        return response(request, {"code": "SANDBOX_OUT_OF_MEMORY", "message": "too much"}, "error")

    driver = FakeDriver(refuse)
    manager = manager_of(driver)
    await manager.open()
    for _ in range(3):
        await run(manager, handler_type=handler_type)
    assert [worker.received.count("execute") for worker in driver.workers] == [1, 1, 1]
    await manager.close()


async def spare_of(manager: SandboxManager) -> None:
    """Returns when a spare stands ready."""
    async with asyncio.timeout(30):
        while not manager.status()[0]["spares"]:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)


async def refill_is_due() -> None:
    """Returns when a refill that was ordered before has come: timers of one loop fire in order."""
    is_due = asyncio.Event()
    asyncio.get_running_loop().call_later(REFILL_AFTER_S, is_due.set)
    await is_due.wait()
    await settle()


async def test_whoever_takes_a_spare_has_another_started_for_the_next_component() -> None:
    manager = manager_of(FakeDriver(where), spare_workers=1)
    await manager.open()
    pool = PoolDefinition(pool_name="default", max_instances=3)
    assert (await run(manager, pool=pool))["data"] == "w1"
    await spare_of(manager)
    assert (await run(manager, pool=pool))["data"] == "w1", "what is bound goes on"
    assert (await run(manager, pool=pool, component_id="second"))["data"] == "w2"
    await spare_of(manager)
    assert (await run(manager, pool=pool, component_id="third"))["data"] == "w3"
    await refill_is_due()
    (status,) = manager.status()
    assert (status["workers"], status["spares"], status["starting"]) == (3, 0, 0), "none beyond the maximum"
    await manager.close()


async def test_a_spare_that_ends_with_its_sandbox_holds_up_no_start() -> None:
    driver = FakeDriver(where)
    manager = manager_of(driver, spare_workers=1)
    await manager.open()
    await run(manager)
    await spare_of(manager)
    for worker in driver.workers:
        worker.end("exited")
    await settle()
    assert (await run(manager))["data"] == "w3"
    await manager.close()


async def test_a_pool_that_closes_starts_no_spare() -> None:
    driver = FakeDriver(where)
    manager = manager_of(driver, spare_workers=1)
    await manager.open()
    await run(manager)
    await manager.close()
    await refill_is_due()
    assert len(driver.workers) == 1
    assert not driver.workers[0].is_alive
