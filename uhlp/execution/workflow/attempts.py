"""Attempts: a step is begun in the journal, done, and ended there; tried again where its retries say so.

What a step does outside is bounded: an attempt that was begun and has no end, because the server died, is followed by
one more at most. What only computes, or only holds other steps, goes on where it was.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import structlog

from uhlp import strict_json
from uhlp.catalogue import workflows
from uhlp.clock import Clock
from uhlp.errors import (
    DeadlineExceeded,
    InternalError,
    OutputInvalid,
    PayloadTooLarge,
    StepInterrupted,
    UhlpError,
    Unavailable,
)
from uhlp.execution.workflow.live_run import LiveRun, Parked, RunFails, RunStops, is_being_cancelled
from uhlp.execution.workflow.outcome import Outcome, failed, outcome_of
from uhlp.execution.workflow.records import StepBegun, StepEnded, StepRecord, StepState
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.timers import Timers
from uhlp.execution.workflow.waits import Waits
from uhlp.metering import Meter
from uhlp.sandbox.untrusted import MAX_DEPTH, is_deeper_than
from uhlp.workflows import Step

MOST_UNENDED = 2
"""Attempts of one step that may be begun and never end."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a step does. `run(number, timeout_s)` does it; `reaches_out`: it may change something outside the run.

    `given` is shown in the timeline, masked by `redact` and the run's own fields.
    """

    kind: str
    run: Callable[[int, float | None], Awaitable[Outcome]]
    given: Any = None
    reaches_out: bool = False
    redact: tuple[str, ...] = ()


class Attempts:
    """Stateless beside its parts; one instance a server."""

    def __init__(
        self, *, journal: RunJournal, timers: Timers, waits: Waits, clock: Clock, meter: Meter, max_output_bytes: int
    ) -> None:
        self._journal = journal
        self._waits = waits
        self._timers = timers
        self._clock = clock
        self._max_output_bytes = max_output_bytes
        self._steps = workflows.STEPS.on(meter)

    def entered_at(self, run: LiveRun, path: str) -> float:
        """When the step was entered first, seconds since the epoch."""
        past = run.past(path)
        return past[0].started if past else self._clock.now()

    async def run(self, run: LiveRun, step: Step, path: str, work: Work) -> Outcome:
        """How the step ended after its last attempt. Raises RunStops."""
        past = run.past(path)
        last = past[-1] if past else None
        number = last.attempt if last is not None else 0
        failures = sum(one.state == "retrying" for one in past)
        begun_at = None
        if last is not None:
            if last.state in ("succeeded", "failed"):
                return outcome_of(last)
            if last.state == "retrying":
                await self._pause_until((last.ended or last.started) + step.retries.delay_s(failures))
            elif not work.reaches_out:
                number, begun_at = last.attempt - 1, last.started
            elif len(past) - failures >= MOST_UNENDED:
                return self._ended(run, last, work, failed(StepInterrupted()))
            else:
                self._append_end(last, "interrupted", Outcome())
        while True:
            number += 1
            if run.is_parking:
                raise Parked
            record = StepRecord(
                run_id=run.record.run_id, path=path, attempt=number, step_id=step.step_id, kind=work.kind,
                state="running", started=self._clock.now() if begun_at is None else begun_at, input=work.given,
            )  # fmt: skip
            if begun_at is None:
                self._append(StepBegun(record, work.redact))
            if work.reaches_out:
                await self._flush()
            outcome, text = self._measured(await self._attempt(run, record, step, work))
            if text is not None and not run.hold(len(text)):
                raise RunFails(failed(PayloadTooLarge("The outputs of the run's steps are larger than they may be.")))
            if outcome.error is None or not step.retries.applies(
                attempt=failures + 1, code=outcome.code, is_retryable=outcome.error["retryable"]
            ):
                return self._ended(run, record, work, outcome, text)
            self._append_end(record, "retrying", outcome)
            self._count(run, work, outcome)
            failures, begun_at = failures + 1, None
            await self._pause_until(self._clock.now() + step.retries.delay_s(failures))

    async def _attempt(self, run: LiveRun, record: StepRecord, step: Step, work: Work) -> Outcome:
        left_s = step.timeout_s
        if left_s is not None:
            over_at = record.started + left_s
            left_s = over_at - self._clock.now()
            if left_s <= 0:
                return self._late(record, step)
            if not work.reaches_out:
                run.bounds.append(over_at)
        try:
            async with asyncio.timeout(left_s) as bound:
                outcome = await work.run(record.attempt, left_s)
            if left_s is not None and not work.reaches_out:
                run.bounds.remove(over_at)
            return outcome
        except RunStops:
            raise
        except TimeoutError:
            if not bound.expired():
                log.exception("workflow_step_failed", run_id=record.run_id, step=record.path)
                return failed(InternalError())
            return self._late(record, step)
        except UhlpError as error:
            return failed(error)
        except asyncio.CancelledError:
            if not is_being_cancelled():
                log.exception("workflow_step_failed", run_id=record.run_id, step=record.path)
                return failed(InternalError())
            if not run.is_parking:
                with contextlib.suppress(RunStops):
                    self._append_end(record, "cancelled", Outcome())
            raise
        except Exception:
            log.exception("workflow_step_failed", run_id=record.run_id, step=record.path)
            return failed(InternalError())

    def _late(self, record: StepRecord, step: Step) -> Outcome:
        self._waits.forget_below(record.run_id, record.path)
        return failed(DeadlineExceeded(f"The step {record.step_id} took longer than its {step.timeout_s:g} s."))

    def _measured(self, outcome: Outcome) -> tuple[Outcome, bytes | None]:
        """The outcome, and its output as the journal keeps it; a failure where it cannot be kept."""
        if outcome.error is not None:
            return outcome, None
        try:
            text = strict_json.dumps(outcome.output)
        except TypeError:
            return failed(OutputInvalid("The step's output is no JSON.")), None
        if is_deeper_than(outcome.output, MAX_DEPTH):
            return failed(OutputInvalid(f"The step's output is nested deeper than {MAX_DEPTH} levels.")), None
        if len(text) > self._max_output_bytes:
            message = f"The step's output has {len(text)} bytes; {self._max_output_bytes} may be kept."
            return failed(PayloadTooLarge(message)), None
        return outcome, text

    def _ended(
        self, run: LiveRun, record: StepRecord, work: Work, outcome: Outcome, text: bytes | None = None
    ) -> Outcome:
        self._append_end(record, "succeeded" if outcome.error is None else "failed", outcome, text)
        self._count(run, work, outcome)
        return replace(outcome, output=None) if outcome.error is not None else outcome

    def _count(self, run: LiveRun, work: Work, outcome: Outcome) -> None:
        self._steps.labels(
            run.record.app_id, run.record.component_id, work.kind, "ok" if outcome.error is None else "failed"
        ).inc()

    def _append_end(self, record: StepRecord, state: StepState, outcome: Outcome, text: bytes | None = None) -> None:
        usage = outcome.usage
        self._append(
            StepEnded(
                run_id=record.run_id, path=record.path, attempt=record.attempt, state=state, ended=self._clock.now(),
                output=text,
                result_format=outcome.result_format, error=outcome.error, implementation=outcome.implementation,
                tokens_in=usage.tokens_in, tokens_out=usage.tokens_out, cost_usd=usage.cost_usd,
            )
        )  # fmt: skip

    def _append(self, entry: StepBegun | StepEnded) -> None:
        try:
            self._journal.append(entry)
        except Unavailable as error:
            raise RunFails(failed(error)) from None

    async def _flush(self) -> None:
        """Nothing is done outside before the journal knows that it will be."""
        try:
            await self._journal.flush()
        except Unavailable as error:
            raise RunFails(failed(error)) from None

    async def _pause_until(self, moment: float) -> None:
        if moment <= self._clock.now():
            return
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self._timers.at(moment, lambda: None if over.done() else over.set_result(None))
        try:
            await over
        finally:
            timer.cancel()
