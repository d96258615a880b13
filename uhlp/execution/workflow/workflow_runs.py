"""WorkflowRuns: begins runs of workflows, answers with their end, and goes on with those that a server left open."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import structlog

from uhlp.catalogue import workflows
from uhlp.clock import Clock
from uhlp.errors import (
    DeadlineExceeded,
    InternalError,
    NotFound,
    RunCancelled,
    ShuttingDown,
    StateConflict,
    TooManyRuns,
    UhlpError,
)
from uhlp.execution.workflow.call import WorkflowCall, WorkflowResult, dedupe_key
from uhlp.execution.workflow.config import WorkflowSettings
from uhlp.execution.workflow.formatting import check_answer
from uhlp.execution.workflow.interpreter import Interpreter
from uhlp.execution.workflow.journal_table import (
    delete_application,
    delete_old,
    select_begun_by,
    select_open_runs,
    select_steps,
    waiting_steps,
)
from uhlp.execution.workflow.live_run import LiveRun, Parked
from uhlp.execution.workflow.open_run import OpenRun
from uhlp.execution.workflow.outcome import Outcome, error_of, failed
from uhlp.execution.workflow.records import RunBegun, RunEnded, RunMoved, RunRecord, RunState
from uhlp.execution.workflow.run_history import RunHistory
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.waits import Waits
from uhlp.metering import Meter
from uhlp.registry.snapshot import AppSnapshot
from uhlp.tools.session import Usage
from uhlp.traffic.table import new_id

SWEEP_S = 60.0
_ATTENDED = frozenset({"http", "internal"})
"""Sources whose caller gives up the run when it gives up the request. The others began a run that is to be done."""

_SNAPSHOTS_KEPT = 16

log = structlog.get_logger(__name__)


class Snapshots(Protocol):
    """The registry: what is in service, and what was at a revision."""

    def snapshot(self, app_id: str) -> AppSnapshot: ...
    async def snapshot_at(self, app_id: str, revision: str) -> AppSnapshot: ...


class WorkflowRuns:
    """One instance a server, which alone works on the journal.

    `run_cycle` lets time pass for runs that wait; `run_drives` works on runs that nobody attends until it is cancelled,
    and then parks them: steps that are being done have `park_within_s`, and what takes longer is done again. `draining`
    is set when the server begins to end.
    """

    def __init__(
        self,
        *,
        journal: RunJournal,
        interpreter: Interpreter,
        waits: Waits,
        timers: Timers,
        registry: Snapshots,
        settings: WorkflowSettings,
        clock: Clock,
        meter: Meter,
        draining: asyncio.Event,
        park_within_s: float = 5.0,
    ) -> None:
        self._journal = journal
        self.history = RunHistory(journal=journal, clock=clock)
        self._interpreter = interpreter
        self._waits = waits
        self._timers = timers
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._draining = draining
        self._park_within_s = park_within_s
        self._open: dict[str, OpenRun] = {}
        self._open_of: Counter[str] = Counter()
        self._begun_by: dict[tuple[str, str], str] = {}
        self._live: dict[str, LiveRun] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._snapshots: dict[tuple[str, str], AppSnapshot] = {}
        self._swept = clock.monotonic() - SWEEP_S
        self._runs = workflows.RUNS.on(meter)
        self._open_runs = workflows.OPEN_RUNS.on(meter).labels()
        self._resumed = workflows.RESUMED.on(meter)
        waits.on_fired(self._fired)

    async def open(self) -> None:
        """Take up every run that was left open. Raises Unavailable when the journal cannot be read."""
        await self._journal.open()
        for record in await self._journal.ask(select_open_runs):
            run = OpenRun(replace(record, is_attended=False))
            self._add(run)
            self._bound(run)
            for step in await self._journal.ask(partial(waiting_steps, run_id=record.run_id)):
                self._waits.arm(record.app_id, step)
            self._enqueue(run)  # those that wait come to their wait again, and are parked
            self._resumed.labels(record.app_id, record.component_id).inc()

    async def aclose(self) -> None:
        """Let go of the journal; open runs stay in it."""
        await self._journal.aclose()

    @property
    def open_runs(self) -> int:
        return len(self._open)

    async def answer(self, call: WorkflowCall) -> WorkflowResult:
        """Run the workflow and give its answer. Raises the UhlpError it failed with, with details.executionId.

        When the time is over, or the caller leaves, the run is cancelled with its steps; a run that a queue, a schedule
        or another application began is left only by the time.
        """
        known = await self._known(call)
        if known is None:
            known = self._begin(call, is_attended=call.source in _ATTENDED, timeout_s=call.timeout_s)
        if isinstance(known, RunRecord):
            return _result_of(known, Outcome(output=known.result))
        if not known.record.is_attended:
            if not known.is_busy and not known.is_parked:
                self._enqueue(known)
            return await self._attend_from_outside(known, call.timeout_s)
        return await self._attend(known, call)

    async def start(self, call: WorkflowCall) -> str:
        """Begin a run that nobody waits for; its id, when the journal has it."""
        known = await self._known(call)
        if known is None:
            known = self._begin(call, is_attended=False, timeout_s=self._settings.longest_run_s)
            self._enqueue(known)
            await self._journal.flush()
        return known.run_id if isinstance(known, RunRecord) else known.record.run_id

    async def signal(self, app_id: str, name: str, correlation: str, values: dict[str, Any]) -> bool:
        """A callback has come: runs that wait for it go on with `values`, and the journal has it then. False when none
        waits."""
        woken = self._waits.signal(app_id, name, correlation, values)
        if woken:
            await self._journal.flush()
        return woken > 0

    async def cancel(self, app_id: str, run_id: str, *, why: str) -> None:
        """End an open run from outside. Raises ExecutionNotFound, StateConflict for one that has ended."""
        run = self._open.get(run_id)
        if run is None or run.record.app_id != app_id:
            record = await self.history.record(app_id, run_id)
            raise StateConflict(f"The execution {run_id} has {record.state} already.")
        ended = _future_of(run)
        self._end_from_outside(run, failed(RunCancelled(why)))
        await asyncio.shield(ended)

    async def delete_application(self, app_id: str) -> int:
        """Forget everything about an application; the number of runs."""
        for run in [run for run in self._open.values() if run.record.app_id == app_id]:
            self._end_from_outside(run, failed(RunCancelled("The application is removed.")))
        return await self._journal.ask(lambda db: delete_application(db, app_id))

    async def run_cycle(self) -> None:
        """Fire what is due; now and then forget what has been kept long enough."""
        self._timers.fire_due()
        self._open_runs.set(len(self._open))
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

    async def run_drives(self) -> None:
        """Work on runs that nobody attends, all that are ready beside each other; ends only by being cancelled."""
        tasks: set[asyncio.Task[None]] = set()
        for run in self._open.values():
            if not run.record.is_attended and not run.is_parked and not run.is_busy:
                self._enqueue(run)
        try:
            while True:
                ready = self._open.get(await self._ready.get())
                if ready is not None and ready.task is None:
                    ready.is_queued = False
                    task = ready.task = asyncio.create_task(self._drive(ready))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
        finally:
            await self._park(tasks)

    # -- beginning

    async def _known(self, call: WorkflowCall) -> OpenRun | RunRecord | None:
        """The run that the same event began, if it did."""
        key, app_id = dedupe_key(call), call.app.app_id
        if key is None:
            return None
        if (run_id := self._begun_by.get((app_id, key))) is None:
            begun = await self._journal.ask(lambda db: select_begun_by(db, app_id, key))
            if begun is not None and begun.state == "succeeded":
                return begun
            run_id = self._begun_by.get((app_id, key))
        return None if run_id is None else self._open.get(run_id)

    def _begin(self, call: WorkflowCall, *, is_attended: bool, timeout_s: float) -> OpenRun:
        if self._draining.is_set():
            raise ShuttingDown
        app_id, definition = call.app.app_id, call.component.definition
        if self._open_of[app_id] >= self._settings.most_open_runs:
            raise TooManyRuns(f"The application has {self._settings.most_open_runs} open runs of workflows.")
        now = self._clock.now()
        record = RunRecord(
            run_id=new_id(now),
            app_id=app_id,
            component_id=definition.component_id,
            workflow_id=definition.task_details.workflow_id or "",
            revision=call.app.revision,
            source=call.source,
            source_details=call.source_details,
            user_info=call.user_info,
            session_id=call.session_id,
            trace_id=call.trace_id,
            input=call.input,
            is_attended=is_attended,
            dedupe_key=dedupe_key(call),
            redact=tuple(call.component.configuration.get("redact", ())),
            started=now,
            deadline=now + timeout_s,
        )
        self._journal.append(RunBegun(record))
        run = OpenRun(record)
        self._add(run)
        self._remember(call.app)
        if not is_attended:
            self._bound(run)
        return run

    def _bound(self, run: OpenRun) -> None:
        """A run that nobody attends ends by a timer."""
        run.deadline = self._timers.at(run.record.deadline, lambda: self._end_from_outside(run, _too_late()))

    def _add(self, run: OpenRun) -> None:
        record = run.record
        self._open[record.run_id] = run
        self._open_of[record.app_id] += 1
        if record.dedupe_key is not None:
            self._begun_by[record.app_id, record.dedupe_key] = record.run_id

    def _enqueue(self, run: OpenRun) -> None:
        run.is_queued, run.is_parked = True, False
        self._ready.put_nowait(run.record.run_id)

    # -- working

    async def _attend(self, run: OpenRun, call: WorkflowCall) -> WorkflowResult:
        """Walk through a run in its caller's own task."""
        task = run.task = asyncio.current_task()
        try:
            async with asyncio.timeout(call.timeout_s):
                outcome = await self._walk(run, self._live_run(run, call.app))
        except TimeoutError:
            outcome = _too_late()
            self._end(run, "cancelled", outcome)
        except Parked:
            raise ShuttingDown(details={"executionId": run.record.run_id}) from None
        except asyncio.CancelledError:
            if run.end_with is not None and task is not None:
                task.uncancel()
                outcome = run.end_with
                self._end(run, "cancelled", outcome)
            elif not self._draining.is_set():
                self._end(run, "cancelled", failed(RunCancelled("The client left.")))
                raise
            else:
                raise
        except Exception as error:
            outcome = self._broken(run, error)
        else:
            outcome = await self._finish(run, call.app, outcome)
        finally:
            run.task = None
            self._live.pop(run.record.run_id, None)
        return _result_of(run.record, outcome)

    async def _attend_from_outside(self, run: OpenRun, timeout_s: float) -> WorkflowResult:
        """Wait for the end of a run that `run_drives` works on."""
        try:
            async with asyncio.timeout(timeout_s):
                outcome = await asyncio.shield(_future_of(run))
        except TimeoutError:
            outcome = _too_late()
        return _result_of(run.record, outcome)

    async def _drive(self, run: OpenRun) -> None:
        """Go on with a run that nobody attends, from what the journal has of it."""
        record = run.record
        run.fired.clear()  # what fired before is in the journal
        run.must_go_on = False
        try:
            app = await self._snapshot_of(record)
            past = await self._journal.ask(lambda db: select_steps(db, record.run_id))
            live = self._live_run(run, app, past=past)
            self._journal.append(RunMoved(run_id=record.run_id, state="running"))
            await self._finish(run, app, await self._walk(run, live))
        except Parked:
            self._parked(run)
        except asyncio.CancelledError:
            if run.end_with is None:
                raise
            self._end(run, "cancelled", run.end_with)
        except Exception as error:
            self._broken(run, error)
        finally:
            run.task = None
            self._live.pop(record.run_id, None)
            if run.must_go_on and record.run_id in self._open and not run.is_queued:
                self._enqueue(run)

    async def _walk(self, run: OpenRun, live: LiveRun) -> Outcome:
        self._live[run.record.run_id] = live
        return await self._interpreter.walk(live)

    def _live_run(self, run: OpenRun, app: AppSnapshot, **past: Any) -> LiveRun:
        component = app.components[run.record.component_id]
        plan = component.workflow
        if plan is None:
            raise NotFound(f"{run.record.component_id} runs no workflow at revision {run.record.revision[:12]}.")
        return LiveRun(
            run.record,
            app=app,
            component=component,
            plan=plan,
            fired=run.fired,
            most_steps=self._settings.most_steps,
            **past,
        )

    async def _snapshot_of(self, record: RunRecord) -> AppSnapshot:
        """The application as it was when the run began."""
        kept = self._snapshots.get((record.app_id, record.revision))
        if kept is None:
            kept = self._registry.snapshot(record.app_id)
            if kept.revision != record.revision:
                kept = await self._registry.snapshot_at(record.app_id, record.revision)
            self._remember(kept)
        if record.component_id not in kept.components:
            raise NotFound(f"There is no component {record.component_id} at revision {record.revision[:12]}.")
        return kept

    def _remember(self, app: AppSnapshot) -> None:
        self._snapshots.pop((app.app_id, app.revision), None)
        self._snapshots[app.app_id, app.revision] = app
        if len(self._snapshots) > _SNAPSHOTS_KEPT:
            del self._snapshots[next(iter(self._snapshots))]

    def _fired(self, run_id: str, path: str, outcome: Outcome) -> None:
        """A wait ended at which nobody stood."""
        run = self._open.get(run_id)
        if run is None:
            return
        run.fired[path] = outcome
        if run.task is not None:
            run.must_go_on = True
        elif not run.is_queued:
            self._enqueue(run)

    def _parked(self, run: OpenRun) -> None:
        run.is_parked = True
        with contextlib.suppress(UhlpError):  # it is found again all the same
            self._journal.append(RunMoved(run_id=run.record.run_id, state="waiting"))

    async def _park(self, tasks: set[asyncio.Task[None]]) -> None:
        """Let every run come to the end of the step it is in, then stop what is left."""
        for live in self._live.values():
            live.is_parking = True
        if tasks:
            await asyncio.wait(set(tasks), timeout=self._park_within_s)
        left = [task for task in tasks if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)

    # -- ending

    async def _finish(self, run: OpenRun, app: AppSnapshot, outcome: Outcome) -> Outcome:
        """End a run as its walk ended; the journal has it when this returns."""
        if outcome.error is None:
            try:
                check_answer(app.components[run.record.component_id], outcome)
            except UhlpError as error:
                outcome = failed(error)
        self._end(run, "succeeded" if outcome.error is None else "failed", outcome)
        await self._journal.flush()
        return outcome

    def _broken(self, run: OpenRun, error: Exception) -> Outcome:
        """The run could not be walked through."""
        if not isinstance(error, UhlpError):
            log.exception("workflow_run_failed", run_id=run.record.run_id, app_id=run.record.app_id)
            error = InternalError()
        outcome = failed(error)
        self._end(run, "failed", outcome)
        return outcome

    def _end_from_outside(self, run: OpenRun, outcome: Outcome) -> None:
        if run.record.run_id not in self._open:
            return
        if run.task is not None:
            run.end_with = outcome
            run.task.cancel()
        else:
            self._end(run, "cancelled", outcome)

    def _end(self, run: OpenRun, state: RunState, outcome: Outcome) -> None:
        record = run.record
        if self._open.pop(record.run_id, None) is None:
            return
        self._open_of[record.app_id] -= 1
        if record.dedupe_key is not None:
            self._begun_by.pop((record.app_id, record.dedupe_key), None)
        self._waits.forget(record.run_id)
        if run.deadline is not None:
            run.deadline.cancel()
        self._runs.labels(record.app_id, record.component_id, state).inc()
        if run.ended is not None and not run.ended.done():
            run.ended.set_result(outcome)
        self._journal.append(
            RunEnded(
                run_id=record.run_id, state=state, ended=self._clock.now(), result=outcome.output, error=outcome.error
            )
        )


def _result_of(record: RunRecord, outcome: Outcome) -> WorkflowResult:
    if outcome.error is not None:
        raise error_of(outcome.error, execution_id=record.run_id)
    return WorkflowResult(
        execution_id=record.run_id,
        result_type=outcome.result_format,
        data=outcome.output,
        revision=record.revision,
        usage=Usage(),
    )


def _future_of(run: OpenRun) -> "asyncio.Future[Outcome]":
    """The run's end, for one who waits for it."""
    if run.ended is None:
        run.ended = asyncio.get_running_loop().create_future()
    return run.ended


def _too_late() -> Outcome:
    return failed(DeadlineExceeded("The workflow took longer than it may."))
