"""What is kept of a run goes with its end."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from uhlp.clock import FakeClock
from uhlp.execution.workflow.open_run import OpenRun
from uhlp.execution.workflow.open_runs import OpenRuns
from uhlp.execution.workflow.outcome import Outcome
from uhlp.execution.workflow.records import RunRecord
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.waits import Waits
from uhlp.metering import NullMeter

FAR_S = 1_000_000.0


class Runs:
    def __init__(self, journal: RunJournal) -> None:
        self.clock = FakeClock()
        self.timers = Timers(clock=self.clock)
        waits = Waits(journal=journal, timers=self.timers, clock=self.clock)
        self.open = OpenRuns(
            journal=journal, waits=waits, timers=self.timers, clock=self.clock, meter=NullMeter()
        )  # fmt: skip

    def begun(self, app_id: str = "shop") -> OpenRun:
        now = self.clock.now()
        run = OpenRun(
            RunRecord(
                run_id="r1", app_id=app_id, component_id="order", workflow_id="order", revision="a" * 40,
                source="trigger", source_details=None, user_info=None, session_id=None, trace_id="t1", trace=None,
                input={}, is_attended=False, dedupe_key=None, redact=(), started=now, deadline=now + 900_000.0,
            )
        )  # fmt: skip
        self.open.add(run)
        run.is_parked = True
        return run


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    journal = RunJournal(tmp_path / "workflows.db")
    await journal.open()
    yield Runs(journal)
    await journal.aclose()


async def test_a_run_that_has_ended_leaves_no_timer(runs: Runs) -> None:
    run = runs.begun()
    runs.open.wake_at(run, runs.clock.now() + 600.0)
    runs.open.end(run, "succeeded", Outcome())
    assert runs.timers.until_next_s(FAR_S) == FAR_S


async def test_a_run_that_is_parked_again_and_again_has_one_moment_to_wake_at(runs: Runs) -> None:
    run = runs.begun()
    for seconds in range(1_000):
        runs.open.wake_in(run, 600.0 + seconds)
    assert len(runs.timers) < 200
    runs.clock.advance(601.0)
    runs.timers.fire_due()
    assert not run.is_queued
    runs.clock.advance(1_000.0)
    runs.timers.fire_due()
    assert run.is_queued


async def test_applications_that_come_and_go_leave_nothing_behind(runs: Runs) -> None:
    for number in range(100):
        run = runs.begun(f"app-{number}")
        assert runs.open.count(f"app-{number}") == 1
        runs.open.end(run, "succeeded", Outcome())
        assert (runs.open.count(f"app-{number}"), runs.open.input_bytes(f"app-{number}")) == (0, 0)
    assert (len(runs.open._of_application), len(runs.open._input_bytes)) == (0, 0)
