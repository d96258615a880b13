"""OpenRuns: every run that has not ended, how it ends, and which are ready to be gone on with."""

import asyncio
from collections import Counter
from collections.abc import Iterator

from uhlp.catalogue import workflows
from uhlp.clock import Clock
from uhlp.errors import DeadlineExceeded
from uhlp.execution.workflow.open_run import OpenRun
from uhlp.execution.workflow.outcome import Outcome, failed
from uhlp.execution.workflow.records import RunEnded, RunState
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.waits import Waits
from uhlp.metering import Meter


class OpenRuns:
    """In memory; the journal has the same."""

    def __init__(self, *, journal: RunJournal, waits: Waits, timers: Timers, clock: Clock, meter: Meter) -> None:
        self._journal = journal
        self._waits = waits
        self._timers = timers
        self._clock = clock
        self._runs: dict[str, OpenRun] = {}
        self._of_application: Counter[str] = Counter()
        self._input_bytes: Counter[str] = Counter()
        self._begun_by: dict[tuple[str, str], str] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._ended = workflows.RUNS.on(meter)
        self._open = workflows.OPEN_RUNS.on(meter).labels()
        waits.on_fired(self._fired)

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[OpenRun]:
        return iter(list(self._runs.values()))

    def get(self, run_id: str) -> OpenRun | None:
        return self._runs.get(run_id)

    def count(self, app_id: str) -> int:
        """How many an application has."""
        return self._of_application[app_id]

    def input_bytes(self, app_id: str) -> int:
        """What the inputs of those take that nobody attends."""
        return self._input_bytes[app_id]

    def begun_by(self, app_id: str, dedupe_key: str) -> OpenRun | None:
        """The open run that this event began."""
        return self._runs.get(self._begun_by.get((app_id, dedupe_key), ""))

    def add(self, run: OpenRun) -> None:
        """Take it up. One that nobody attends ends by a timer; the other's caller looks at the time itself."""
        record = run.record
        self._runs[record.run_id] = run
        self._of_application[record.app_id] += 1
        self._input_bytes[record.app_id] += run.input_bytes
        if record.dedupe_key is not None:
            self._begun_by[record.app_id, record.dedupe_key] = record.run_id
        if not record.is_attended:
            run.deadline = self._timers.at(record.deadline, lambda: self.end_from_outside(run, too_late()))
        self._open.set(len(self._runs))

    def enqueue(self, run: OpenRun) -> None:
        """It can be gone on with."""
        run.is_queued, run.is_parked = True, False
        self._ready.put_nowait(run.record.run_id)

    def wake_at(self, run: OpenRun, moment: float) -> None:
        """Go on with a parked run at `moment`, whatever it waits for; a moment that was said before counts no more."""

        def wake() -> None:
            if run.is_parked and run.record.run_id in self._runs:
                self.enqueue(run)

        if run.wake is not None:
            run.wake.cancel()
        run.wake = self._timers.at(moment, wake)

    def wake_in(self, run: OpenRun, seconds: float) -> None:
        """The same, so many seconds from now."""
        self.wake_at(run, self._clock.now() + seconds)

    async def next_ready(self) -> OpenRun:
        """Waits for a run that can be gone on with, and that nobody works on."""
        while True:
            run = self._runs.get(await self._ready.get())
            if run is not None and run.task is None:
                run.is_queued = False
                return run

    def end(self, run: OpenRun, state: RunState, outcome: Outcome) -> None:
        """It has ended so; the journal is told, not flushed. What has ended stays as it is."""
        record = run.record
        if self._runs.pop(record.run_id, None) is None:
            return
        self._of_application[record.app_id] -= 1
        self._input_bytes[record.app_id] -= run.input_bytes
        if not self._of_application[record.app_id]:  # applications come and go
            del self._of_application[record.app_id], self._input_bytes[record.app_id]
        if record.dedupe_key is not None:
            self._begun_by.pop((record.app_id, record.dedupe_key), None)
        self._waits.forget(record.run_id)
        for timer in (run.deadline, run.wake):
            if timer is not None:
                timer.cancel()
        self._ended.labels(record.app_id, record.component_id, state).inc()
        self._open.set(len(self._runs))
        if run.ended is not None and not run.ended.done():
            run.ended.set_result(outcome)
        self._journal.append(
            RunEnded(
                run_id=record.run_id,
                state=state,
                ended=self._clock.now(),
                result=outcome.output,
                result_format=outcome.result_format,
                error=outcome.error,
            )
        )

    def end_from_outside(self, run: OpenRun, outcome: Outcome) -> None:
        """Cancel it, with what is being done for it."""
        if run.record.run_id not in self._runs:
            return
        if run.task is not None:
            run.end_with = outcome
            run.task.cancel()
        else:
            self.end(run, "cancelled", outcome)

    def _fired(self, run_id: str, path: str, outcome: Outcome) -> None:
        """A wait ended at which nobody stood."""
        run = self._runs.get(run_id)
        if run is None:
            return
        run.fired[path] = outcome
        if run.task is not None:
            run.must_go_on = True
        elif not run.is_queued:
            self.enqueue(run)


def too_late() -> Outcome:
    """A run's end when its time is over."""
    return failed(DeadlineExceeded("The workflow took longer than it may."))
