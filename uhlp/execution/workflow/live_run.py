"""LiveRun: a run that this process is working on, and the reasons why it stops doing so."""

import asyncio
from collections.abc import Sequence

from uhlp.execution.workflow.outcome import Outcome
from uhlp.execution.workflow.records import RunRecord, StepRecord
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.workflows import Plan


class RunStops(Exception):
    """The walk through a plan ends here, and no step of it may take that for its own failure."""


class Parked(RunStops):
    """Every branch waits, or the server ends: the journal holds all there is, and the run goes on from there.

    `wake_at`: when the time of a step that holds others is over.
    """

    def __init__(self) -> None:
        self.wake_at: float | None = None
        super().__init__()


class RunFails(RunStops):
    """The run as a whole has failed."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.code)


def is_being_cancelled() -> bool:
    """Whether somebody wants the current task to end. If not, a CancelledError comes from what the task waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class LiveRun:
    """One run while it is walked through. `past` are the attempts that an earlier walk has journaled, and `held_bytes`
    is what their outputs take.

    `moving` counts the branches that do not wait; whoever lets one go on raises it. `fired` are waits that ended while
    nobody stood at them. `is_parking`: no further step is to begin, and what is cancelled goes on later. `bounds`: when
    the time is over of steps that hold others. `computed_s`: what its expressions have taken, `turn_s` of it since its
    last turn.
    """

    __slots__ = (
        "_held_bytes", "_max_bytes", "_most_steps",
        "_past",
        "app",
        "bounds",
        "component",
        "computed_s",
        "entered_steps",
        "fired",
        "is_parking",
        "moving",
        "plan",
        "record",
        "turn_s",
    )  # fmt: skip

    def __init__(
        self,
        record: RunRecord,
        *,
        app: AppSnapshot,
        component: ComponentSnapshot,
        plan: Plan,
        past: Sequence[StepRecord] = (),
        held_bytes: int = 0,
        fired: dict[str, Outcome] | None = None,
        most_steps: int,
        max_bytes: int,
    ) -> None:
        self.record = record
        self.app = app
        self.component = component
        self.plan = plan
        self.moving = 1
        self.fired = {} if fired is None else fired
        self.is_parking = False
        self.bounds: list[float] = []
        self._most_steps = most_steps
        self._max_bytes = max_bytes
        self._held_bytes = held_bytes
        self.entered_steps = 0
        self.computed_s = self.turn_s = 0.0
        self._past: dict[str, list[StepRecord]] = {}
        for step in past:
            self._past.setdefault(step.path, []).append(step)

    @property
    def is_alone(self) -> bool:
        """Nobody waits for its answer: while every branch waits, it needs no task."""
        return not self.record.is_attended

    def past(self, path: str) -> list[StepRecord]:
        """The attempts of a step that were begun before this walk, oldest first."""
        return self._past.get(path, [])

    def hold(self, size_bytes: int) -> bool:
        """Count one more output; False when the run's outputs are larger than they may be."""
        self._held_bytes += size_bytes
        return self._held_bytes <= self._max_bytes

    def enter_step(self) -> bool:
        """Count one more step; False when the run has entered as many as it may."""
        self.entered_steps += 1
        return self.entered_steps <= self._most_steps
