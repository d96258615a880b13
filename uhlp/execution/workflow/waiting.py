"""Steps of kind wait: from what the plan says to a row in the journal, and to where the run goes on."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from uhlp.clock import Clock
from uhlp.errors import ExpressionFailed, Unavailable
from uhlp.execution.workflow.live_run import LiveRun, RunFails
from uhlp.execution.workflow.outcome import Outcome, failed, outcome_of
from uhlp.execution.workflow.records import StepBegun, StepRecord
from uhlp.execution.workflow.run_journal import RunJournal
from uhlp.execution.workflow.turns import Turns
from uhlp.execution.workflow.waits import Waits, wait_ended
from uhlp.models.trigger import MOST_CORRELATION
from uhlp.workflows import WaitForCallback, WaitForTime
from uhlp.workflows.plan import LONGEST_WAIT_S

Names = Mapping[str, Any]


class Waiting:
    """A wait is a row of the journal; only a run that somebody waits for stands at it in a task."""

    def __init__(self, *, journal: RunJournal, waits: Waits, turns: Turns, clock: Clock) -> None:
        self._journal = journal
        self._turns = turns
        self._waits = waits
        self._clock = clock

    async def wait(
        self, run: LiveRun, step_id: str, path: str, action: WaitForTime | WaitForCallback, names: Names
    ) -> Outcome:
        """How the wait ended. Raises Parked when the run is to go on without a task."""
        past = run.past(path)
        if past:
            has_ended = past[-1].state in ("succeeded", "failed")
            return outcome_of(past[-1]) if has_ended else await self._waits.stand_at(run, past[-1])
        now = self._clock.now()
        signal = correlation = None
        outcome = None
        wake_at = now
        try:
            if isinstance(action, WaitForCallback):
                signal, correlation = action.name, _text(await self._turns.value(run, action.correlation, names))
                wake_at = now + action.timeout_s
            else:
                wake_at = await self._moment(run, action, names, now)
                outcome = Outcome() if wake_at <= now else None
        except ExpressionFailed as error:
            outcome = failed(error)
        step = StepRecord(
            run_id=run.record.run_id, path=path, attempt=1, step_id=step_id, kind="wait", state="waiting",
            started=now, wake_at=wake_at, signal=signal, correlation=correlation,
        )  # fmt: skip
        try:
            self._journal.append(StepBegun(step))
            if outcome is not None:
                self._journal.append(wait_ended(step, outcome, now))
                return outcome
        except Unavailable as error:
            raise RunFails(failed(error)) from None
        return await self._waits.stand_at(run, step)

    async def _moment(self, run: LiveRun, action: WaitForTime, names: Names, now: float) -> float:
        """When the wait is over, seconds since the epoch."""
        if action.duration_ms is not None:
            duration = await self._turns.value(run, action.duration_ms, names)
            if not _is_number(duration) or duration < 0:
                raise ExpressionFailed(f"A wait lasts a number of milliseconds from 0, not {duration!r}.")
            moment: float = now + duration / 1000
        else:
            assert action.until is not None  # noqa: S101  exactly one is there
            until = await self._turns.value(run, action.until, names)
            moment = float(until) if _is_number(until) else _read_moment(until)
        if not moment <= now + LONGEST_WAIT_S:
            raise ExpressionFailed(f"A wait is over within {LONGEST_WAIT_S / 86_400:g} days.")
        return max(moment, now)  # what is over already may lie before all dates that can be shown


def _read_moment(text: Any) -> float:
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ExpressionFailed("`until` is RFC 3339 text with a time zone, or seconds since the epoch.")
    return moment.timestamp()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    """What a callback must bring: text as it is, numbers as JSON writes them."""
    if isinstance(value, str):
        if len(value) > MOST_CORRELATION:
            raise ExpressionFailed(
                f"The correlation has {len(value)} characters, and no callback brings more than {MOST_CORRELATION}."
            )
        return value
    if _is_number(value):
        return str(int(value)) if float(value).is_integer() else str(value)
    raise ExpressionFailed("The correlation of a callback is text or a number.")
