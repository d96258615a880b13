"""WorkflowRuns: begins runs of workflows, answers with their end, and goes on with those that a server left open."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from uhlp import strict_json
from uhlp.catalogue import workflows
from uhlp.clock import Clock
from uhlp.errors import PayloadTooLarge, RunCancelled, ShuttingDown, StateConflict, TooManyRuns
from uhlp.execution.workflow.call import WorkflowCall, WorkflowResult, dedupe_key, may_write, new_run_id
from uhlp.execution.workflow.config import WorkflowSettings
from uhlp.execution.workflow.journal_table import (
    delete_application,
    delete_old,
    select_begun_by,
    select_open_runs,
    waiting_steps,
)
from uhlp.execution.workflow.live_run import Parked
from uhlp.execution.workflow.open_run import OpenRun
from uhlp.execution.workflow.open_runs import OpenRuns, too_late
from uhlp.execution.workflow.outcome import Outcome, error_of, failed
from uhlp.execution.workflow.records import RunBegun, RunRecord
from uhlp.execution.workflow.run_history import RunHistory
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.run_walks import RunWalks
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.waits import Waits
from uhlp.metering import Meter

SWEEP_S = 60.0
MOST_INPUT_BYTES = 64 * 1024 * 1024
"""Of the inputs of all open runs of an application that nobody attends: they are held until the runs end."""

_ATTENDED = frozenset({"http", "internal"})
"""Sources whose caller gives up the run when it gives up the request. The others began a run that is to be done."""


class WorkflowRuns:
    """One instance a server, which alone works on the journal.

    `run_cycle` lets time pass for runs that wait; `run_walks` works on runs that nobody attends. `draining` is set when
    the server begins to end: a caller that leaves then has not given up its run.
    """

    def __init__(
        self,
        *,
        journal: RunJournal,
        open_runs: OpenRuns,
        walks: RunWalks,
        waits: Waits,
        timers: Timers,
        settings: WorkflowSettings,
        clock: Clock,
        meter: Meter,
        draining: asyncio.Event,
    ) -> None:
        self._journal = journal
        self._open = open_runs
        self._walks = walks
        self._waits = waits
        self._timers = timers
        self._settings = settings
        self._clock = clock
        self._draining = draining
        self._swept = clock.monotonic() - SWEEP_S
        self._resumed = workflows.RESUMED.on(meter)
        self.history = RunHistory(journal=journal, clock=clock)

    async def open(self) -> None:
        """Take up every run that was left open. Raises Unavailable when the journal cannot be read."""
        await self._journal.open()
        for record in await self._journal.ask(select_open_runs):
            run = OpenRun(replace(record, is_attended=False), input_bytes=len(strict_json.dumps(record.input)))
            self._open.add(run)
            for step in await self._journal.ask(partial(waiting_steps, run_id=record.run_id)):
                self._waits.arm(record.app_id, step)
            self._open.enqueue(run)  # those that wait come to their wait again, and are parked
            self._resumed.labels(record.app_id, record.component_id).inc()

    async def aclose(self) -> None:
        """Let go of the journal; open runs stay in it."""
        await self._journal.aclose()

    @property
    def open_runs(self) -> int:
        """How many have not ended."""
        return len(self._open)

    async def ping(self) -> None:
        """Raises Unavailable when the journal is not written: no step that reaches out would be begun."""
        await self._journal.flush()

    async def answer(self, call: WorkflowCall) -> WorkflowResult:
        """Run the workflow and give its answer. Raises the UhlpError it failed with, with details.executionId.

        When the time is over, or the caller leaves, the run is cancelled with its steps. One that a queue, a schedule
        or another application began is ended by the time alone; when it failed and may have written, that is told as
        WorkflowFailed, which nobody tries again.
        """
        known = await self._known(call)
        if known is None:
            known = self._begin(call, is_attended=call.source in _ATTENDED, timeout_s=call.timeout_s)
        if isinstance(known, RunRecord):
            return _result_of(known, Outcome(output=known.result, result_format=known.result_format))
        if known.record.is_attended:
            return _result_of(known.record, await self._attend(known, call))
        if not known.is_busy and not known.is_parked:
            self._open.enqueue(known)
        outcome = await self._end_of(known, call.timeout_s)
        return _result_of(known.record, outcome, is_final=may_write(call.app, call.component))

    async def start(self, call: WorkflowCall) -> str:
        """Begin a run that nobody waits for; its id, when the journal has it."""
        known = await self._known(call)
        if isinstance(known, RunRecord):
            return known.run_id
        if known is None:
            known = self._begin(call, is_attended=False, timeout_s=self._settings.longest_run_s)
            self._open.enqueue(known)
            await self._journal.flush()
        return known.record.run_id

    async def signal(self, app_id: str, name: str, correlation: str, values: dict[str, Any]) -> bool:
        """A callback has come: runs that wait for it go on with `values`, and the journal has it then. False when none
        waits. PayloadTooLarge, and all wait on, when the journal would have to keep too much."""
        waiting = self._waits.waiting_for(app_id, name, correlation)
        if waiting:
            most = min(self._settings.max_output_bytes, self._settings.max_run_bytes // waiting)
            if (size := len(strict_json.dumps(values))) > most:
                raise PayloadTooLarge(
                    f"The callback brings {size} bytes to {waiting} waiting runs; {most} may be kept of it.",
                    details={"limitBytes": most},
                )
        woken = self._waits.signal(app_id, name, correlation, values)
        if woken:
            await self._journal.flush()
        return woken > 0

    async def cancel(self, app_id: str, run_id: str, *, why: str) -> None:
        """End an open run from outside; the journal has it then. Raises ExecutionNotFound, StateConflict for one that
        has ended."""
        run = self._open.get(run_id)
        if run is None or run.record.app_id != app_id:
            record = await self.history.record(app_id, run_id)
            raise StateConflict(f"The execution {run_id} has {record.state} already.")
        ended = run.end_future()
        self._open.end_from_outside(run, failed(RunCancelled(why)))
        await asyncio.shield(ended)
        await self._journal.flush()  # no next server goes on with it

    async def delete_application(self, app_id: str) -> int:
        """Forget everything about an application; the number of runs."""
        ends = []
        for run in self._open:
            if run.record.app_id == app_id:
                ends.append(run.end_future())
                self._open.end_from_outside(run, failed(RunCancelled("The application is removed.")))
        if ends:
            await asyncio.wait(ends)
        return await self._journal.ask(lambda db: delete_application(db, app_id))

    async def run_cycle(self) -> None:
        """Fire what is due; now and then forget what has been kept long enough."""
        self._timers.fire_due()
        if self._clock.monotonic() - self._swept >= SWEEP_S:
            self._swept = self._clock.monotonic()
            before, keep_runs = self._clock.now() - self._settings.keep_s, self._settings.keep_runs
            await self._journal.ask(lambda db: delete_old(db, before=before, keep_runs=keep_runs))

    def until_next_cycle_s(self) -> float:
        """The pause that `run_cycle` may have now."""
        return self._timers.until_next_s(SWEEP_S)

    def on_earlier_cycle(self, wake: Callable[[], None]) -> None:
        """Call `wake` when the next cycle is to come sooner than was said."""
        self._timers.on_earlier(wake)

    async def run_walks(self) -> None:
        """Work on runs that nobody attends; ends by being cancelled, and parks them then."""
        await self._walks.run()

    async def _known(self, call: WorkflowCall) -> OpenRun | RunRecord | None:
        """The run that the same event began, if it did and has not failed."""
        key, app_id = dedupe_key(call), call.app.app_id
        if key is None:
            return None
        if (run := self._open.begun_by(app_id, key)) is not None:
            return run
        begun = await self._journal.ask(lambda db: select_begun_by(db, app_id, key))
        if begun is not None and begun.state == "succeeded":
            return begun
        return self._open.begun_by(app_id, key)

    def _begin(self, call: WorkflowCall, *, is_attended: bool, timeout_s: float) -> OpenRun:
        if self._draining.is_set():
            raise ShuttingDown
        app_id, definition = call.app.app_id, call.component.definition
        if self._open.count(app_id) >= self._settings.most_open_runs:
            raise TooManyRuns(f"The application has {self._settings.most_open_runs} open runs of workflows.")
        input_bytes = 0 if is_attended else len(strict_json.dumps(call.input))
        if input_bytes and self._open.input_bytes(app_id) + input_bytes > MOST_INPUT_BYTES:
            raise TooManyRuns(f"The inputs of the application's open runs take more than {MOST_INPUT_BYTES} bytes.")
        now = self._clock.now()
        record = RunRecord(
            run_id=new_run_id(now),
            app_id=app_id,
            component_id=definition.component_id,
            workflow_id=definition.task_details.workflow_id or "",
            revision=call.app.revision,
            source=call.source,
            source_details=call.source_details,
            user_info=call.user_info,
            session_id=call.session_id,
            trace_id=call.trace_id,
            trace=None if call.trace is None else call.trace.headers(),
            input=call.input,
            is_attended=is_attended,
            dedupe_key=dedupe_key(call),
            redact=tuple(call.component.configuration.get("redact", ())),
            started=now,
            deadline=now + timeout_s,
        )
        self._journal.append(RunBegun(record))
        run = OpenRun(record, input_bytes=input_bytes)
        self._open.add(run)
        self._walks.remember(call.app)
        return run

    async def _attend(self, run: OpenRun, call: WorkflowCall) -> Outcome:
        """Walk through a run in its caller's own task."""
        task = run.task = asyncio.current_task()
        try:
            async with asyncio.timeout(call.timeout_s):
                return await self._walks.walk(run, call.app)
        except TimeoutError:
            outcome = too_late()
            self._open.end(run, "cancelled", outcome)
            return outcome
        except Parked:
            raise ShuttingDown(details={"executionId": run.record.run_id}) from None
        except asyncio.CancelledError:
            if run.end_with is not None and task is not None:
                task.uncancel()
                self._open.end(run, "cancelled", run.end_with)
                return run.end_with
            if not self._draining.is_set():
                self._open.end(run, "cancelled", failed(RunCancelled("The client left.")))
            raise
        finally:
            run.task = None

    async def _end_of(self, run: OpenRun, timeout_s: float) -> Outcome:
        """Wait for the end of a run that `run_walks` works on."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(run.end_future())
        except TimeoutError:
            return too_late()


def _result_of(record: RunRecord, outcome: Outcome, *, is_final: bool = False) -> WorkflowResult:
    if outcome.error is not None:
        raise error_of(outcome.error, execution_id=record.run_id, is_final=is_final)
    return WorkflowResult(
        execution_id=record.run_id, result_type=outcome.result_format, data=outcome.output, revision=record.revision
    )
