"""Waits: steps that stand still until a moment has come or a callback has."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded, Unavailable
from uhlp.execution.workflow.live_run import LiveRun, Parked
from uhlp.execution.workflow.outcome import Outcome, failed
from uhlp.execution.workflow.records import StepEnded, StepRecord
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.timers import Timer, Timers

Key = tuple[str, str]
Signal = tuple[str, str, str]
"""Application, name and correlation of a callback."""

OnFired = Callable[[str, str, Outcome], None]
"""Run, path, and how the wait there ended."""


@dataclass(slots=True, eq=False)
class _Wait:
    step: StepRecord
    app_id: str
    timer: Timer | None = None
    run: LiveRun | None = None
    walker: asyncio.Future[Outcome] | None = None
    """Where a walk through the run stands at it; None while the run is parked."""


class Waits:
    """Every wait of every open run, in memory and in the journal. `on_fired` is told of waits that nobody stands at."""

    def __init__(self, *, journal: RunJournal, timers: Timers, clock: Clock) -> None:
        self._journal = journal
        self._timers = timers
        self._clock = clock
        self._waits: dict[Key, _Wait] = {}
        self._of_signal: dict[Signal, list[_Wait]] = {}
        self._of_run: dict[str, list[_Wait]] = {}
        self._on_fired: OnFired = lambda run_id, path, outcome: None

    def on_fired(self, listener: OnFired) -> None:
        self._on_fired = listener

    def arm(self, app_id: str, step: StepRecord) -> None:
        """Let a step that the journal says is waiting wake its run."""
        wait = _Wait(step, app_id)
        self._waits[step.run_id, step.path] = wait
        self._of_run.setdefault(step.run_id, []).append(wait)
        if step.wake_at is not None:
            wait.timer = self._timers.at(step.wake_at, lambda: self._end(wait, _after_time(step)))
        if step.signal is not None:
            self._of_signal.setdefault(_signal_of(wait), []).append(wait)

    async def stand_at(self, run: LiveRun, step: StepRecord) -> Outcome:
        """How the wait ended. Raises Parked when nothing else of a run that nobody attends is moving."""
        if (fired := run.fired.pop(step.path, None)) is not None:
            return fired
        if (step.run_id, step.path) not in self._waits:
            self.arm(run.record.app_id, step)
        wait = self._waits[step.run_id, step.path]
        if run.is_parking or (run.is_alone and run.moving == 1):
            run.is_parking = True
            raise Parked
        run.moving -= 1
        wait.run, wait.walker = run, asyncio.get_running_loop().create_future()
        try:
            return await wait.walker
        except asyncio.CancelledError:
            if not wait.walker.done() or wait.walker.cancelled():
                run.moving += 1  # who ends it lowers it again
                if not run.is_parking:  # its branch has lost, or the time of what it is in is over
                    self.forget_below(step.run_id, step.path)
            raise
        finally:
            wait.run = wait.walker = None

    def waiting_for(self, app_id: str, name: str, correlation: str) -> int:
        """How many waits this callback would end."""
        return len(self._of_signal.get((app_id, name, correlation), []))

    def signal(self, app_id: str, name: str, correlation: str, payload: Any) -> int:
        """End every wait for this callback with `payload`; how many there were. The journal is told, not flushed."""
        waits = self._of_signal.get((app_id, name, correlation), [])[:]
        for wait in waits:
            self._end(wait, Outcome(output=payload))
        return len(waits)

    def forget(self, run_id: str) -> None:
        """The run has ended: nothing wakes it any more."""
        for wait in self._of_run.pop(run_id, []):
            self._drop(wait)

    def forget_below(self, run_id: str, path: str) -> None:
        """A step has ended before what it holds: nothing in it waits any more, in the next server neither."""
        of_run = self._of_run.get(run_id, [])
        for wait in [wait for wait in of_run if _is_within(wait.step.path, path)]:
            of_run.remove(wait)
            self._drop(wait)
            step = wait.step
            with suppress(Unavailable):  # then it is the end of its run that tells
                self._journal.append(
                    StepEnded(
                        run_id=run_id, path=step.path, attempt=step.attempt, state="cancelled", ended=self._clock.now()
                    )
                )

    def _end(self, wait: _Wait, outcome: Outcome) -> None:
        step, run, walker = wait.step, wait.run, wait.walker
        self._journal.append(wait_ended(step, outcome, self._clock.now()))  # refused: it waits on
        self._drop(wait)
        of_run = self._of_run.get(step.run_id, [])
        if wait in of_run:
            of_run.remove(wait)
        if run is not None and walker is not None and not walker.done():
            run.moving += 1
            walker.set_result(outcome)
        else:
            self._on_fired(step.run_id, step.path, outcome)

    def _drop(self, wait: _Wait) -> None:
        self._waits.pop((wait.step.run_id, wait.step.path), None)
        if wait.timer is not None:
            wait.timer.cancel()
        if wait.step.signal is not None:
            waits = self._of_signal.get(_signal_of(wait), [])
            if wait in waits:
                waits.remove(wait)
            if not waits:
                self._of_signal.pop(_signal_of(wait), None)


def _is_within(path: str, outer: str) -> bool:
    return path == outer or (path.startswith(outer) and path[len(outer)] in "[./~")


def wait_ended(step: StepRecord, outcome: Outcome, now: float) -> StepEnded:
    """The entry that ends a wait."""
    return StepEnded(
        run_id=step.run_id,
        path=step.path,
        attempt=step.attempt,
        state="succeeded" if outcome.error is None else "failed",
        ended=now,
        output=strict_json.dumps(outcome.output),
        error=outcome.error,
    )


def _after_time(step: StepRecord) -> Outcome:
    if step.signal is None:
        return Outcome()
    return failed(DeadlineExceeded(f"The callback {step.signal} did not come in time."))


def _signal_of(wait: _Wait) -> Signal:
    return wait.app_id, wait.step.signal or "", wait.step.correlation or ""
