"""What pools do with workers whose answers say that they can serve no other call, and with those for one call each."""

from pool_calls import run, settle
from sandbox_calls import POOL, manager_of

from uhlp.sandbox.drivers.fake import FakeDriver
from uhlp.sandbox.drivers.fake_worker import wear_out


async def test_a_worn_worker_takes_no_further_call_and_nobody_gets_an_error() -> None:
    driver = FakeDriver(wear_out)
    manager = manager_of(driver)
    await manager.open()
    for number in range(6):
        assert (await run(manager, {"n": number}))["data"] == {"n": number}
    await settle()
    served = [worker for worker in driver.workers if "execute" in worker.received]
    assert len(served) == 6
    assert not any(worker.is_alive for worker in served)
    await manager.close()


async def test_the_next_worker_starts_when_one_is_used_up_not_when_the_next_call_comes() -> None:
    driver = FakeDriver(wear_out)
    manager = manager_of(driver)
    await manager.open()
    await run(manager)
    await settle()
    assert [worker.is_alive for worker in driver.workers] == [False, True]
    await run(manager)
    assert len(driver.workers) <= 3
    assert "execute" in driver.workers[1].received
    await manager.close()


async def test_a_pool_of_one_request_per_instance_has_a_worker_for_each_call() -> None:
    driver = FakeDriver()
    manager = manager_of(driver)
    await manager.open()
    pool = POOL.model_copy(update={"max_requests_per_instance": 1})
    for number in range(4):
        assert (await run(manager, {"n": number}, pool=pool))["data"] == {"n": number}
    assert [worker.received.count("execute") for worker in driver.workers if worker.received] == [1] * 4
    await manager.close()
