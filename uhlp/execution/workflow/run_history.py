"""RunHistory: what the journal shows of runs, masked as samples are (contracts §7)."""

from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ExecutionNotFound, StateConflict
from uhlp.execution.workflow.journal_table import delete_run, masked_steps, select_run, select_runs, usage_of
from uhlp.execution.workflow.records import OPEN_STATES, RunRecord, StepRecord
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.rfc3339 import rfc3339
from uhlp.traffic.redaction import Redaction

MOST_STEPS = 2_000
"""Of one run, in its timeline; `areStepsLeftOut` says that there are more."""


class RunHistory:
    """Reads, and forgets what is asked to be forgotten."""

    def __init__(self, *, journal: RunJournal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def listed(
        self, app_id: str, *, component_id: str | None = None, state: str | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Runs of an application, newest first."""
        records = await self._journal.ask(
            lambda db: select_runs(db, app_id, component_id=component_id, state=state, limit=limit)
        )
        return [self._shown(one) for one in records]

    async def record(self, app_id: str, execution_id: str) -> RunRecord:
        """Raises ExecutionNotFound."""
        found = await self._journal.ask(lambda db: select_run(db, app_id, execution_id))
        if found is None:
            raise ExecutionNotFound(f"{app_id} has no execution {execution_id[:100]}; ended ones are kept for a time.")
        return found

    async def answer(self, app_id: str, execution_id: str) -> dict[str, Any]:
        """What whoever began a run may know of it: its state, and its result or error."""
        shown = self._shown(await self.record(app_id, execution_id))
        names = ("executionId", "componentId", "state", "startedAt", "endedAt", "resultType", "result", "error")
        return {name: shown[name] for name in names}

    async def timeline(self, app_id: str, execution_id: str) -> dict[str, Any]:
        """One run with its steps in the order in which they began; their times are milliseconds since its start.
        `usage` is that of all steps, shown or not."""
        record = await self.record(app_id, execution_id)
        steps, (tokens_in, tokens_out, usd) = await self._journal.ask(
            lambda db: (masked_steps(db, record, limit=MOST_STEPS + 1), usage_of(db, record.run_id))
        )
        shown = [_step(one, record.started) for one in steps[:MOST_STEPS]]
        return {
            **self._shown(record),
            "input": _masked(record, record.input),
            "usage": {"tokensIn": tokens_in, "tokensOut": tokens_out, "costUsd": usd},
            "steps": shown,
            "areStepsLeftOut": len(steps) > MOST_STEPS,
        }

    async def delete(self, app_id: str, execution_id: str) -> None:
        """Forget a run that has ended. StateConflict for one that has not: cancel it first."""
        record = await self.record(app_id, execution_id)
        if record.state in OPEN_STATES:
            raise StateConflict(f"The execution {execution_id} has not ended: cancel it first.")
        await self._journal.ask(lambda db: delete_run(db, execution_id))

    def _shown(self, record: RunRecord) -> dict[str, Any]:
        until = self._clock.now() if record.ended is None else record.ended
        return {
            "executionId": record.run_id,
            "appId": record.app_id,
            "componentId": record.component_id,
            "workflowId": record.workflow_id,
            "revision": record.revision,
            "source": record.source,
            "traceId": record.trace_id,
            "state": record.state,
            "startedAt": rfc3339(record.started),
            "endedAt": None if record.ended is None else rfc3339(record.ended),
            "deadlineAt": rfc3339(record.deadline),
            "durationMs": _ms(until - record.started),
            "resultType": record.result_format,
            "result": _masked(record, record.result),
            "error": record.error,
        }


def _masked(record: RunRecord, value: Any) -> Any:
    return Redaction(record.redact).apply(value)


def _step(step: StepRecord, started: float) -> dict[str, Any]:
    return {
        "path": step.path,
        "stepId": step.step_id,
        "kind": step.kind,
        "attempt": step.attempt,
        "state": step.state,
        "startedMs": _ms(step.started - started),
        "durationMs": None if step.ended is None else _ms(step.ended - step.started),
        "implementation": step.implementation,
        "input": step.input,
        "output": step.output,
        "error": step.error,
        "tokensIn": step.tokens_in,
        "tokensOut": step.tokens_out,
        "costUsd": step.cost_usd,
        "waitsFor": _waits_for(step),
    }


def _waits_for(step: StepRecord) -> dict[str, Any] | None:
    if step.kind != "wait":
        return None
    until = None if step.wake_at is None else rfc3339(step.wake_at)
    return {"callback": step.signal, "correlation": step.correlation, "until": until}


def _ms(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
