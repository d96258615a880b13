"""Generated tests: the request, and reports that cannot be trusted."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from execution_parts import Parts, answering, app_of, component_of

from uhlp.errors import ShuttingDown
from uhlp.execution import HandlerTests, TestReport
from uhlp.models.execute import ExecuteRequest
from uhlp.sandbox.drivers.fake_worker import Behaviour, FakeWorker, die, hang

CODE, TESTS = "def handle(inputs, context):\n    return 1\n", "def test_one():\n    assert True\n"
REPORT = {
    "passed": 2,
    "failed": 1,
    "errors": 0,
    "skipped": 1,
    "total": 4,
    "report": "1 failed",
    "failures": [{"name": "test_one", "message": "assert 1 == 2"}],
}


class Run:
    def __init__(self) -> None:
        self.parts: Parts | None = None

    async def __call__(self, behaviour: Behaviour, timeout_s: float = 5.0) -> TestReport:
        self.parts = Parts(behaviour)
        await self.parts.sandboxes.open()
        tests = HandlerTests(sandboxes=self.parts.sandboxes, deployment_mode="development", timeout_s=lambda: timeout_s)
        return await tests.run(app_of(), component_of(), CODE, TESTS)


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    made = Run()
    yield made
    if made.parts is not None:
        await made.parts.sandboxes.close()


async def test_a_report_is_read(run: Run) -> None:
    report = await run(answering(REPORT))
    assert (report.passed, report.failed, report.errors, report.total) == (2, 1, 0, 4)
    assert [(failure.name, failure.message) for failure in report.failures] == [("test_one", "assert 1 == 2")]


async def test_tests_run_in_a_fresh_worker_of_the_trial_group(run: Run) -> None:
    await run(answering(REPORT))
    assert run.parts is not None
    request = ExecuteRequest.model_validate(run.parts.requests[0])
    assert request.context.handler_type == "TESTS"
    assert request.context.task.tests is not None
    assert [sandbox.spec.group for sandbox in run.parts.driver.sandboxes] == ["trial"]
    await run.parts.sandboxes.close()
    assert not run.parts.driver.workers[0].is_alive


async def test_tests_whose_sandbox_ended_once_are_run_again(run: Run) -> None:
    ends: list[Behaviour] = [die, answering(REPORT)]

    async def dies_once(worker: FakeWorker, request: dict[str, Any]) -> dict[str, Any] | None:
        return await ends.pop(0)(worker, request)

    report = await run(dies_once)
    assert (report.passed, report.total) == (2, 4)


@pytest.mark.parametrize(
    "behaviour",
    [
        die,
        hang,
        answering("text"),
        answering({**REPORT, "passed": -1}),
        answering({**REPORT, "passed": True}),
        answering({**REPORT, "passed": 99}),
        answering({**REPORT, "total": "4"}),
        answering({}),
        answering({"code": "SANDBOX_OUT_OF_MEMORY", "message": "too much"}, "error"),
        answering(None, "error"),
    ],
)
async def test_a_sandbox_that_gives_no_sound_report_rejects(run: Run, behaviour: Behaviour) -> None:
    report = await run(behaviour, timeout_s=0.1 if behaviour is hang else 5.0)
    assert (report.passed, report.errors, report.total) == (0, 1, 1)
    assert report.failures[0].message


async def test_a_report_that_no_runner_writes_is_forged_and_a_sandbox_that_dies_is_not(run: Run) -> None:
    for nonsense in ("text", {}, {**REPORT, "passed": 99}):
        assert (await run(answering(nonsense))).is_forged
    for trouble in (die, answering(REPORT), answering(None, "error")):
        assert not (await run(trouble)).is_forged


async def test_failures_of_any_shape_are_cut_to_text(run: Run) -> None:
    report = await run(
        answering({**REPORT, "report": 7, "failures": [{"name": 1}, "x", None, {"message": "m" * 9999}]})
    )
    assert [len(failure.message) for failure in report.failures] == [0, 2000]
    assert report.report == ""


async def test_a_server_that_shuts_down_says_nothing_of_the_handler(run: Run) -> None:
    await run(answering(REPORT))
    assert run.parts is not None
    await run.parts.sandboxes.close()
    tests: Any = HandlerTests(sandboxes=run.parts.sandboxes, deployment_mode="development")
    with pytest.raises(ShuttingDown):
        await tests.run(app_of(), component_of(), CODE, TESTS)
