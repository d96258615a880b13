"""RunWalks: walks through runs, in a caller's own task or in tasks of its own, and parks them when the server ends."""

import asyncio
import contextlib
import functools
from collections.abc import Sequence
from typing import Protocol

import structlog

from uhlp.errors import AppNotFound, InternalError, NotFound, UhlpError, Unavailable
from uhlp.execution.workflow.formatting import check_answer
from uhlp.execution.workflow.interpreter import Interpreter
from uhlp.execution.workflow.journal_table import held_bytes, select_steps
from uhlp.execution.workflow.live_run import LiveRun, Parked, is_being_cancelled
from uhlp.execution.workflow.open_run import OpenRun
from uhlp.execution.workflow.open_runs import OpenRuns
from uhlp.execution.workflow.outcome import Outcome, failed
from uhlp.execution.workflow.records import RunMoved, RunRecord, StepRecord
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.registry.snapshot import AppSnapshot, Snapshots

_SNAPSHOTS_KEPT = 16

PUT_OFF_S = 10.0
"""So long a run waits when its application or the journal cannot be read."""

log = structlog.get_logger(__name__)


class PastSnapshots(Snapshots, Protocol):
    """The registry: what is in service, and what was at a revision."""

    async def snapshot_at(self, app_id: str, revision: str) -> AppSnapshot: ...


class RunWalks:
    """`run` works on what is ready until it is cancelled; then steps that are being done have `park_within_s`, and what
    takes longer is done again by the next server."""

    def __init__(
        self,
        *,
        journal: RunJournal,
        interpreter: Interpreter,
        open_runs: OpenRuns,
        registry: PastSnapshots,
        most_steps: int,
        max_run_bytes: int,
        park_within_s: float = 5.0,
    ) -> None:
        self._journal = journal
        self._interpreter = interpreter
        self._open = open_runs
        self._registry = registry
        self._most_steps = most_steps
        self._max_run_bytes = max_run_bytes
        self._park_within_s = park_within_s
        self._live: dict[str, LiveRun] = {}
        self._snapshots: dict[tuple[str, str], AppSnapshot] = {}
        self._recalling = asyncio.Lock()

    async def run(self) -> None:
        """Go on with runs that nobody attends, all that are ready beside each other."""
        tasks: set[asyncio.Task[None]] = set()
        for run in self._open:
            if not (run.record.is_attended or run.is_parked or run.is_busy):
                self._open.enqueue(run)
        try:
            while True:
                ready = await self._open.next_ready()
                task = ready.task = asyncio.create_task(self._go_on(ready))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                task.add_done_callback(functools.partial(self._left, ready))
        finally:
            await self._park(tasks)

    async def walk(self, run: OpenRun, app: AppSnapshot, past: Sequence[StepRecord] = (), *, held: int = 0) -> Outcome:
        """Walk through a run to its end; the journal has it when this returns. Raises Parked, Unavailable."""
        record = run.record
        self.remember(app)
        try:
            component = app.components.get(record.component_id)
            if component is None or component.workflow is None:
                raise NotFound(f"{record.component_id} runs no workflow at revision {record.revision[:12]}.")
            live = self._live[record.run_id] = LiveRun(
                record,
                app=app,
                component=component,
                plan=component.workflow,
                past=past,
                held_bytes=held,
                fired=run.fired,
                most_steps=self._most_steps,
                max_bytes=self._max_run_bytes,
            )
            outcome = await self._interpreter.walk(live)
            if outcome.error is None:
                check_answer(component, outcome)
        except UhlpError as error:
            outcome = failed(error)
        except Parked as parked:
            parked.wake_at = min(live.bounds, default=None)
            raise
        except Exception:
            log.exception("workflow_run_failed", run_id=record.run_id, app_id=record.app_id)
            outcome = failed(InternalError())
        finally:
            self._live.pop(record.run_id, None)
        self._open.end(run, "succeeded" if outcome.error is None else "failed", outcome)
        await self._journal.flush()
        return outcome

    def remember(self, app: AppSnapshot) -> None:
        """Keep the snapshots that runs were begun at last, so that going on need not compile them again."""
        self._snapshots.pop((app.app_id, app.revision), None)
        self._snapshots[app.app_id, app.revision] = app
        if len(self._snapshots) > _SNAPSHOTS_KEPT:
            del self._snapshots[next(iter(self._snapshots))]

    async def _go_on(self, run: OpenRun) -> None:
        """Go on with a run from what the journal has of it."""
        record = run.record
        run.fired.clear()  # what fired before is in the journal
        run.must_go_on = False
        try:
            app = await self._snapshot_of(record)
            past, held = await self._journal.ask(
                lambda db: (select_steps(db, record.run_id), held_bytes(db, record.run_id))
            )
            self._journal.append(RunMoved(run_id=record.run_id, state="running"))
            await self.walk(run, app, past, held=held)
        except Parked as parked:
            run.is_parked = True
            if parked.wake_at is not None:
                self._open.wake_at(run, parked.wake_at)
            with contextlib.suppress(UhlpError):  # it is found again all the same
                self._journal.append(RunMoved(run_id=record.run_id, state="waiting"))
        except asyncio.CancelledError:
            if run.end_with is not None:
                self._open.end(run, "cancelled", run.end_with)
            elif is_being_cancelled():
                raise
            else:  # something that it waited for was
                self._put_off(run, "CANCELLED")
        except (Unavailable, AppNotFound) as error:  # neither is the run's fault, nor for ever
            self._put_off(run, error.code)
        except UhlpError as error:
            self._open.end(run, "failed", failed(error))
        except Exception:
            log.exception("workflow_run_failed", run_id=record.run_id, app_id=record.app_id)
            self._open.end(run, "failed", failed(InternalError()))
        finally:
            run.task = None
            if run.must_go_on and self._open.get(record.run_id) is not None and not run.is_queued:
                self._open.enqueue(run)

    def _put_off(self, run: OpenRun, code: str) -> None:
        log.warning("workflow_run_put_off", run_id=run.record.run_id, app_id=run.record.app_id, code=code)
        run.is_parked = True
        self._open.wake_in(run, PUT_OFF_S)

    def _left(self, run: OpenRun, task: asyncio.Task[None]) -> None:
        """Cancelled before its first step, a task has done nothing of what `_go_on` does at its end."""
        if run.task is task:
            run.task = None
            if run.end_with is not None:
                self._open.end(run, "cancelled", run.end_with)

    async def _snapshot_of(self, record: RunRecord) -> AppSnapshot:
        """The application as it was when the run began. Many runs of one revision have it compiled once."""
        async with self._recalling:
            kept = self._snapshots.get((record.app_id, record.revision))
            if kept is None:
                kept = self._registry.snapshot(record.app_id)
                if kept.revision != record.revision:
                    kept = await self._registry.snapshot_at(record.app_id, record.revision)
                self.remember(kept)
            return kept

    async def _park(self, tasks: "set[asyncio.Task[None]]") -> None:
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
