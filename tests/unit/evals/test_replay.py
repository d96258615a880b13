"""Replay over recorded samples, in their order, whatever ends first."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from uhlp.errors import DeadlineExceeded, HandlerFailed, NoSandboxAvailable, SandboxDied, SandboxOutOfMemory
from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import ReplayReport, replay
from uhlp.evolution.verification import handler_of
from uhlp.execution import ExecutionCall, ExecutionResult
from uhlp.models.definition import AppDefinition, ComponentDefinition
from uhlp.tools.session import Usage
from uhlp.traffic.samples import Sample

FAILURES = {
    NoSandboxAvailable: "sandbox", SandboxDied: "sandbox", DeadlineExceeded: "timeout", SandboxOutOfMemory: "oom",
}  # fmt: skip


def sample(number: int, output: Any) -> Sample:
    return Sample(
        id=str(number), app_id="a", component_id="c", ts=0.0, input={"n": number}, output=output, implementation="p",
        handler="llm", latency_ms=1.0, tokens_in=0, tokens_out=0, cost_usd=None, ok=True, trace_id="", source="live",
        spec_hash="s", input_hash=f"h{number}", split="train",
    )  # fmt: skip


class ScriptedExecutor:
    """Ends the run of input n with outcome n, the first of several in turn; later inputs end first."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = outcomes
        self.calls: list[ExecutionCall] = []
        self.running = self.most = 0

    async def run(self, call: ExecutionCall) -> ExecutionResult:
        self.calls.append(call)
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(len(self.outcomes) - call.input["n"]):
            await asyncio.sleep(0)
        self.running -= 1
        outcome = self.outcomes[call.input["n"]]
        if isinstance(outcome, list):
            outcome = outcome.pop(0)
        if outcome == "deoptimize":
            return ExecutionResult(outcome="deoptimize", failure="guard", latency_ms=1.0, usage=Usage())
        if outcome == "asks":
            return ExecutionResult(outcome="ok", latency_ms=1.0, usage=Usage(), unrecorded=("app.look", "app.look"))
        if isinstance(outcome, Exception):
            failure = FAILURES.get(type(outcome), "exception")
            return ExecutionResult(outcome="failed", failure=failure, error=outcome, latency_ms=1.0, usage=Usage())  # type: ignore[arg-type]
        return ExecutionResult(outcome="ok", data=outcome, latency_ms=10.0 * call.input["n"], usage=Usage())


async def replayed(
    *outcomes: Any, expected: Any = "right", effects: Any = None, workers: int = 16
) -> tuple[ReplayReport, ScriptedExecutor]:
    executor = ScriptedExecutor(*outcomes)
    samples = [sample(number, expected) for number in range(len(outcomes))]
    component = SimpleNamespace(definition=ComponentDefinition(component_id="c", effects=effects))
    pools = {"pools": [{"poolName": "default", "maxInstances": workers}]}
    app = SimpleNamespace(definition=AppDefinition.model_validate({"appId": "app", "sandboxPools": pools}))
    report = await replay(
        executor, app, component, handler_of("x = 1"), samples, Comparator({}), timeout_s=1.5, concurrency=3
    )  # type: ignore[arg-type]
    return report, executor


async def test_each_outcome_is_counted_as_what_it_is() -> None:
    outcomes = ("right", "wrong", "deoptimize", HandlerFailed("KeyError"), NoSandboxAvailable("full"))
    report, executor = await replayed(*outcomes)
    assert [one.outcome for one in report.results] == ["agrees", "differs", "deoptimised", "failed", "refused"]
    assert (report.n, report.answered, report.agreed, report.deoptimised) == (4, 2, 1, 1)
    assert (report.failed, report.refused) == (1, 1)
    assert (report.coverage, report.agreement, report.p50_ms) == (0.5, 0.5, 5.0)
    assert [one.why for one in report.mismatches][1] == "exception: KeyError"
    assert {(call.group, call.purpose, call.timeout_s) for call in executor.calls} == {("trial", "replay", 1.5)}


async def test_what_asks_a_tool_that_was_not_recorded_says_nothing() -> None:
    report, executor = await replayed("right", "asks", effects="read")
    assert [(one.outcome, one.why) for one in report.results] == [("agrees", ""), ("unrecorded", "app.look")]
    assert (report.n, report.unrecorded, report.coverage) == (1, 1, 1.0)
    assert {call.recorded for call in executor.calls} == {()}, "its tools do not run"


async def test_what_has_no_effects_may_ask_its_tools() -> None:
    _, executor = await replayed("right")
    assert {call.recorded for call in executor.calls} == {None}


async def test_results_stand_in_the_samples_order_and_no_more_run_at_once_than_allowed() -> None:
    report, executor = await replayed(*["right"] * 9)
    assert [one.input["n"] for one in report.results] == list(range(9))
    assert executor.most == 3


async def test_no_more_run_at_once_than_the_pool_has_workers() -> None:
    _, executor = await replayed(*["right"] * 9, workers=1)
    assert executor.most == 1


@pytest.mark.parametrize("cut_off", [DeadlineExceeded(), SandboxDied(), SandboxOutOfMemory()])
async def test_a_run_that_was_cut_off_is_repeated_once_because_it_may_be_the_machines_doing(cut_off: Exception) -> None:
    report, executor = await replayed([cut_off, "right"], [cut_off, cut_off, "right"], [HandlerFailed(), "right"])
    assert [one.outcome for one in report.results] == ["agrees", "failed", "failed"]
    assert [call.input["n"] for call in executor.calls].count(0) == 2
    assert [call.input["n"] for call in executor.calls].count(2) == 1


async def test_null_is_an_answer() -> None:
    report, _ = await replayed(None, "x", expected=None)
    assert [(one.outcome, one.is_answer) for one in report.results] == [("agrees", True), ("differs", True)]


async def test_nothing_replayed_claims_nothing() -> None:
    report, _ = await replayed()
    assert (report.n, report.coverage, report.agreement, report.p50_ms) == (0, 0.0, None, None)
