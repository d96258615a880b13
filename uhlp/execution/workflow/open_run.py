"""OpenRun: a run that has not ended, whether or not anything is being done for it now."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from uhlp.execution.workflow.outcome import Outcome
from uhlp.execution.workflow.records import RunRecord
from uhlp.execution.workflow.timers import Timer


@dataclass(slots=True, eq=False)
class OpenRun:
    """`task` works on it; `is_queued` says that one is about to. `ended` is the run's end, for whoever waits.

    `fired` are waits that ended while nobody stood at them, since the journal was last read; `must_go_on` then makes
    the walk begin anew when it stops. `end_with` is why the task was cancelled, None when it was not the run's end.
    `input_bytes` is what is kept of a run that nobody attends. `wake` goes on with it when it is parked till then.
    """

    record: RunRecord
    input_bytes: int = 0
    task: asyncio.Task[Any] | None = None
    is_queued: bool = False
    is_parked: bool = False
    must_go_on: bool = False
    fired: dict[str, Outcome] = field(default_factory=dict)
    deadline: Timer | None = None
    wake: Timer | None = None
    end_with: Outcome | None = None
    ended: "asyncio.Future[Outcome] | None" = None

    def end_future(self) -> "asyncio.Future[Outcome]":
        """How it ends, for one who waits for that."""
        if self.ended is None:
            self.ended = asyncio.get_running_loop().create_future()
        return self.ended

    @property
    def is_busy(self) -> bool:
        return self.task is not None or self.is_queued
