"""Workflows that nobody thought of, with answers that nobody thought of: each run ends within its bounds, and ends the
same way when its server is killed on the way."""

import asyncio
import json
import re
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.execution.workflow.test_going_on import DyingJournal
from tests.unit.execution.workflow.workflow_parts import Parts, app_of, running
from tests.unit.workflows.random_workflows import CODES, Definition, workflows
from uhlp.clock import FakeClock
from uhlp.errors import ExecutionFailed
from uhlp.execution.workflow.journal_table import select_runs, select_steps
from uhlp.execution.workflow.records import RunRecord, StepRecord
from uhlp.registry.snapshot import AppSnapshot
from uhlp.tools.session import Usage
from uhlp.workflows import Loop, Plan, parse_workflow

MOST_STEPS = 200
OTHER = b"steps: [{id: more, type: llm, componentId: c, inputMapping: {a: trigger.input.a}, end: true}]"
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))

Answers = tuple[str | None, ...]
answers = st.lists(st.sampled_from([*[None] * 6, *CODES, "OTHER"]), min_size=1, max_size=7).map(tuple)
"""Error codes, None for success; each request gets the one that its idempotency key falls on."""


class Answering:
    """Components and tools; `asked` are the idempotency keys, without the run's id."""

    def __init__(self, answers: Answers, clock: FakeClock) -> None:
        self.clock = clock
        self._answers = answers
        self.asked: list[str] = []

    def _answer(self, key: str, attempt: int) -> str | None:
        name = key.partition(":")[2]
        self.asked.append(name)
        return self._answers[(crc32(name.encode()) + attempt) % len(self._answers)]

    async def ask(self, app_id: str, component_id: str, given: Any, *, source_details: Any, **_: Any) -> Any:
        await asyncio.sleep(0)
        code = self._answer(source_details["idempotencyKey"], 0)
        told = {"code": code, "message": "scripted"}
        result_type, data = ("generic", {"n": len(given)}) if code is None else ("error", told)
        return SimpleNamespace(
            result=SimpleNamespace(result_type=result_type, data=data, usage=Usage()), implementation="jit@v1"
        )

    async def call_tool(self, name: str, params: Any, context: Any) -> Any:
        if (code := self._answer(context.idempotency_key, 1)) is not None:
            raise type("Scripted", (ExecutionFailed,), {"code": code, "retryable": code == "SLOW"})("scripted")
        return {"ok": True}


def app_with(definition: Definition) -> AppSnapshot:
    raw = json.dumps(definition, ensure_ascii=False).encode()
    plan = parse_workflow(raw, path="workflows/order.yaml")
    return app_of(plan.root, others=(parse_workflow(OTHER, path="workflows/other.yaml"),), tools=["core.a.b"])


async def ended(
    path: Path, app: AppSnapshot, answers: Answers, clock: FakeClock, *, lives: int | None = None
) -> tuple[RunRecord | None, list[StepRecord], list[str]]:
    """The run that one server began, or took up from the last one, its steps, and what was asked; None: it was killed
    after `lives` entries of the journal."""
    asking = Answering(answers, clock)
    journal = None if lives is None else DyingJournal(path, lives)
    parts = Parts(
        path, app, components=asking, tools=asking, clock=clock, journal=journal, most_steps=MOST_STEPS, park_within_s=0
    )  # type: ignore[arg-type]
    async with running(parts), asyncio.timeout(30):
        runs = await _runs(parts)
        starting = asyncio.create_task(parts.runs.start(parts.call({"yes": True}))) if not runs else None
        turns_after_death = 0
        while True:
            clock.advance(0.01)
            await parts.runs.run_cycle()
            await asyncio.sleep(0)
            turns_after_death += journal is not None and journal.is_dead
            runs = await _runs(parts)
            if turns_after_death > 5 or (runs and runs[0].state in ("succeeded", "failed")):
                break
        if starting is not None:
            starting.cancel()
            await asyncio.wait({starting})
        if journal is not None:
            journal.lives = 0
        is_over = bool(runs) and runs[0].state in ("succeeded", "failed")
        steps = await parts.journal.ask(lambda db: select_steps(db, runs[0].run_id)) if is_over else []
    return (runs[0] if is_over else None), steps, asking.asked


async def _runs(parts: Parts) -> list[RunRecord]:
    found: list[RunRecord] = await parts.journal.ask(
        lambda db: select_runs(db, "shop", component_id=None, state=None, limit=2)
    )
    return found


def assert_within_bounds(plan: Plan, steps: list[StepRecord]) -> None:
    """Every row of the timeline is one that the plan allows."""
    known = {step.step_id: step for step in plan.every_step()}
    assert len({one.path for one in steps}) <= MOST_STEPS
    for row in steps:
        assert row.state in ("succeeded", "failed", "retrying", "cancelled"), row
        if row.step_id not in known:
            continue  # of the subworkflow
        step = known[row.step_id]
        assert row.attempt <= step.retries.max_attempts
        for name, visit, index in re.findall(r"(\w+)(?:#(\d+))?(?:\.\w+)?(?:\[(\d+)\])?(?:/|$)", row.path):
            passed = known.get(name)
            if passed is not None:
                assert int(visit or 1) <= (passed.max_visits or 1)
                assert (
                    not index or int(index) < passed.action.max_iterations if isinstance(passed.action, Loop) else True
                )


def check_bounds(definition: Definition, answers: Answers) -> None:
    app = app_with(definition)
    with tempfile.TemporaryDirectory() as folder:
        run, steps, asked = asyncio.run(ended(Path(folder) / "w.db", app, answers, FakeClock()))
    assert run is not None
    assert "INTERNAL_ERROR" not in str([run.error, *[one.error for one in steps]])
    assert_within_bounds(app.workflows["order"], steps)
    assert (run.error is None) == (run.state == "succeeded")
    attempts = {step.step_id: step.retries.max_attempts for step in app.workflows["order"].every_step()}
    assert all(asked.count(name) <= max(attempts.values()) for name in asked)


def check_killed(definition: Definition, answers: Answers, lives: int) -> None:
    app = app_with(definition)
    with tempfile.TemporaryDirectory() as folder:
        whole, steps, asked = asyncio.run(ended(Path(folder) / "whole.db", app, answers, FakeClock()))
        clock = FakeClock()
        killed, _, before = asyncio.run(ended(Path(folder) / "w.db", app, answers, clock, lives=lives))
        again, steps_again, after = asyncio.run(ended(Path(folder) / "w.db", app, answers, clock))
    assert whole is not None
    assert again is not None
    assert _told(again) == _told(whole)
    assert [one.path for one in steps_again if one.state != "interrupted"] == [one.path for one in steps]
    assert killed is None or after == []
    assert set(before + after) == set(asked)
    assert all((before + after).count(name) <= asked.count(name) + 1 for name in asked)


def _told(run: RunRecord) -> str:
    """How it ended, without what no two runs have in common."""
    text = json.dumps([run.state, run.result, run.error], sort_keys=True).replace(run.run_id, "RUN")
    return re.sub(r"20\d\d-[\d-]+T[\d:.]+Z", "TIME", text)


def test_what_is_entered_again_has_keys_of_its_own(tmp_path: Path) -> None:
    def asks(name: str) -> list[Definition]:
        return [{"id": name, "type": "llm", "componentId": "c", "end": True}]

    control = {"type": "control", "maxVisits": 2}
    loop = {"control": "loop", "forEach": "[7, 8]", "maxIterations": 2, "steps": asks("a"), "onSuccess": "both"}
    parallel = {"control": "parallel", "branches": {"left": asks("b")}, "onSuccess": "sub"}
    subworkflow = {"control": "subworkflow", "workflowId": "other", "inputMapping": {"a": "1"}, "onSuccess": "again"}
    again = {"control": "branch", "cases": [{"when": "steps.again.visits < 2", "next": "each"}], "default": "end"}
    end = {"control": "formatResponse", "end": True}
    parts = {"each": loop, "both": parallel, "sub": subworkflow, "again": again, "end": end}
    app = app_with({"steps": [{"id": name, **control, **part} for name, part in parts.items()]})
    _run, _steps, asked = asyncio.run(ended(tmp_path / "w.db", app, (None,), FakeClock()))
    assert asked == ["a:0", "a:1", "b", "sub/more", "a:0#2", "a:1#2", "b:#2", "sub#2/more"]


@QUICK
@given(workflows(), answers)
def test_a_run_of_any_workflow_ends_within_its_bounds(definition: Definition, answers: Answers) -> None:
    check_bounds(definition, answers)


@QUICK
@given(workflows(most_branches=1), answers, st.integers(1, 40))
def test_a_run_that_was_killed_ends_as_it_would_have(definition: Definition, answers: Answers, lives: int) -> None:
    check_killed(definition, answers, lives)


@pytest.mark.long
@LONG
@given(workflows(), answers)
def test_many_runs_end_within_their_bounds(definition: Definition, answers: Answers) -> None:
    check_bounds(definition, answers)


@pytest.mark.long
@LONG
@given(workflows(most_branches=1), answers, st.integers(1, 200))
def test_many_killed_runs_end_as_they_would_have(definition: Definition, answers: Answers, lives: int) -> None:
    check_killed(definition, answers, lives)
