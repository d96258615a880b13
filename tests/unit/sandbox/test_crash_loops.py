"""Code that ends its worker call after call is refused for a while; a call that did not run is repeated."""

import asyncio
import hashlib
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from pool_calls import Gate, run, settle
from raw_runner import isolated_driver, new_data_dir
from sandbox_calls import POOL, SHA256, manager_of

from uhlp.clock import FakeClock
from uhlp.errors import CrashLoop, SandboxDied
from uhlp.sandbox.drivers.fake import FakeDriver, UnreachableDriver
from uhlp.sandbox.drivers.fake_worker import FakeWorker, response
from uhlp.sandbox.manager import AllocateSandboxRequest, ReleaseSandboxRequest, SandboxManager

BAD, GOOD = b"bad", b"good"


def sha256_of(code: bytes) -> str:
    return hashlib.sha256(code).hexdigest()


class Moody:
    """Ends its worker while `is_bad`, and whatever its mood for a request that says so."""

    is_bad = True

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, worker: FakeWorker, request: dict) -> dict | None:
        self.calls += 1
        sha256 = request["context"]["task"]["artifact"]["sha256"]
        if self.is_bad and sha256 != sha256_of(GOOD):
            worker.end("exited")
            return None
        return response(request, "fine")


async def crash(manager: SandboxManager, times: int, **call: Any) -> None:
    for _ in range(times):
        with pytest.raises(SandboxDied):
            await run(manager, code=BAD, **call)


async def test_code_that_crashes_call_after_call_is_refused_at_once_and_says_when_it_is_tried_again() -> None:
    moody, clock = Moody(), FakeClock()
    manager = manager_of(FakeDriver(moody), clock=clock)
    await manager.open()
    await crash(manager, 4)
    assert manager.problems("shop") == []
    await crash(manager, 1)
    for _ in range(10):
        with pytest.raises(CrashLoop) as refused:
            await run(manager, code=BAD)
    assert moody.calls == 5
    assert refused.value.retry_after_s == pytest.approx(0.5)
    (problem,) = manager.problems("shop")
    assert problem.startswith("The code of parse (")
    assert "crashed 5 times in a row" in problem
    assert (await run(manager, code=GOOD))["data"] == "fine"
    await manager.close()


async def test_one_call_tries_it_after_each_pause_and_pauses_grow() -> None:
    moody, clock = Moody(), FakeClock()
    manager = manager_of(FakeDriver(moody), clock=clock, backoff_max_s=2.0)
    await manager.open()
    await crash(manager, 5)
    for pause_s in (0.5, 1.0, 2.0, 2.0):
        clock.advance(pause_s * 0.99)
        with pytest.raises(CrashLoop):
            await run(manager, code=BAD)
        clock.advance(pause_s * 0.02)
        outcomes = await asyncio.gather(*(run(manager, code=BAD) for _ in range(4)), return_exceptions=True)
        assert sorted(type(one).__name__ for one in outcomes) == ["CrashLoop"] * 3 + ["SandboxDied"]
    moody.is_bad = False
    clock.advance(2.1)
    assert (await run(manager, code=BAD))["data"] == "fine"
    assert manager.problems("shop") == []
    await asyncio.gather(*(run(manager, code=BAD) for _ in range(4)))
    await manager.close()


async def test_an_answer_between_crashes_starts_the_count_again() -> None:
    moody, clock = Moody(), FakeClock()
    manager = manager_of(FakeDriver(moody), clock=clock)
    await manager.open()
    for _ in range(3):
        moody.is_bad = True
        await crash(manager, 4)
        moody.is_bad = False
        await run(manager, code=BAD)
    assert manager.problems("shop") == []
    await manager.close()


async def test_a_sandbox_that_ends_with_all_its_calls_is_one_crash_of_their_code() -> None:
    gate, pool = Gate(), POOL.model_copy(update={"max_instances": 8})
    driver, clock = FakeDriver(gate), FakeClock()
    manager = manager_of(driver, clock=clock)
    await manager.open()
    for round_number in range(4):
        calls = [run(manager, {"name": (round_number, n)}, pool=pool) for n in range(8)]
        await gate.until(8 * (round_number + 1))
        clock.advance(1)
        await driver.sandboxes[-1].stop("the engine restarts")
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(one) for one in outcomes} == {SandboxDied}
    assert manager.problems("shop") == []
    await manager.close()


async def test_code_on_trial_runs_every_time_because_what_it_does_is_evidence() -> None:
    moody = Moody()
    manager = manager_of(FakeDriver(moody), clock=FakeClock())
    await manager.open()
    await crash(manager, 8, group="trial")
    assert moody.calls == 8
    assert manager.problems("shop") == []
    await manager.close()


async def test_a_crash_of_shared_model_workers_is_no_templates_fault() -> None:
    moody = Moody()
    manager = manager_of(FakeDriver(moody), clock=FakeClock())
    await manager.open()
    await crash(manager, 8, handler_type="LLM")
    assert moody.calls == 16, "a prompt that has asked no model yet runs on a second worker"
    await manager.close()


async def test_a_call_whose_worker_cannot_be_reached_is_repeated_once_on_another() -> None:
    driver = UnreachableDriver(1)
    manager = manager_of(driver)
    await manager.open()
    assert (await run(manager, {"n": 1}))["data"] == {"n": 1}
    await settle()
    assert [worker.is_alive for worker in driver.workers] == [False, True]
    await manager.close()


async def test_a_call_that_reaches_no_worker_twice_fails_and_is_no_crash_of_its_code() -> None:
    driver = UnreachableDriver(12)
    manager = manager_of(driver)
    await manager.open()
    for _ in range(6):
        with pytest.raises(SandboxDied, match="takes no connection"):
            await run(manager)
    assert len(driver.workers) == 12
    assert manager.problems("shop") == []
    await manager.close()


async def test_the_problem_is_over_when_the_application_runs_other_code() -> None:
    in_service = {sha256_of(BAD)}
    driver, clock = FakeDriver(Moody()), FakeClock()
    manager = manager_of(
        driver,
        clock=clock,
        desired=lambda: [("shop", POOL)],
        runs_code=lambda app_id, identity: app_id == "shop" and identity[1] in in_service,
    )
    await manager.open()
    await crash(manager, 5)
    await manager.run_cycle()
    assert manager.problems("shop") != []
    in_service.clear()
    await manager.run_cycle()
    assert manager.problems("shop") == []
    await manager.close()


@pytest.fixture
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_data_dir(tmp_path_factory)


async def test_an_idle_worker_that_is_killed_is_replaced_in_a_real_sandbox(data_dir: Path) -> None:
    pool = POOL.model_copy(update={"min_instances": 1})
    driver = await isolated_driver(data_dir)
    manager = manager_of(driver, desired=lambda: [("shop", pool)])
    await manager.open()
    await manager.run_cycle()
    assert (await run(manager, {"n": 1}, pool=pool))["data"] == {"n": 1}
    (before,) = await manager.sandboxes()
    claim = AllocateSandboxRequest(app_id="shop", required_pool_name="default", identity=("parse", SHA256))
    idle = (await manager.allocate_sandbox(claim)).instance
    assert idle is not None
    manager.release_sandbox(ReleaseSandboxRequest(instance_id=idle.instance_id))
    (victim,) = [pid for pid in _descendants(os.getpid()) if _inner_pid(pid) == idle.worker.hello["pid"]]
    os.kill(victim, signal.SIGKILL)
    lost: asyncio.Future[str] = idle.worker.ended
    await asyncio.wait_for(asyncio.shield(lost), 20)
    await settle()
    await manager.run_cycle()
    (after,) = await manager.sandboxes()
    assert after["sandboxId"] == before["sandboxId"]
    assert [worker["workerId"] for worker in after["workers"]] != [worker["workerId"] for worker in before["workers"]]
    assert (await run(manager, {"n": 1}, pool=pool))["data"] == {"n": 1}
    await manager.close()


async def test_a_crash_loop_of_real_code_degrades_the_application_until_a_good_version_runs(data_dir: Path) -> None:
    bad = b"import os\ndef handle(inputs, context):\n    os._exit(3)\n"
    good = b"def handle(inputs, context):\n    return inputs\n"
    in_service = {sha256_of(bad)}
    driver = await isolated_driver(data_dir)
    manager = manager_of(
        driver,
        desired=lambda: [("shop", POOL)],
        runs_code=lambda app_id, identity: identity[1] in in_service,
        backoff_initial_s=30.0,
    )
    await manager.open()
    for _ in range(5):
        with pytest.raises(SandboxDied):
            await run(manager, code=bad)
    with pytest.raises(CrashLoop):
        await run(manager, code=bad)
    assert len(manager.problems("shop")) == 1
    in_service.add(sha256_of(good))
    in_service.remove(sha256_of(bad))
    await manager.run_cycle()
    assert manager.problems("shop") == []
    assert (await run(manager, {"n": 1}, code=good))["data"] == {"n": 1}
    await manager.close()


def _descendants(pid: int) -> list[int]:
    children = [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
    return [each for child in children for each in (child, *_descendants(child))]


def _inner_pid(pid: int) -> int:
    """The process's id in its own namespace."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("NSpid:")).split()[-1])
