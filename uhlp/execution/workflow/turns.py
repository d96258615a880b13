"""Turns: expressions hold the whole process while they are evaluated, so that runs with many of them take turns."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol
from weakref import WeakValueDictionary

from uhlp.clock import Clock
from uhlp.execution.workflow.live_run import LiveRun, RunFails
from uhlp.execution.workflow.outcome import failed_with
from uhlp.execution.workflow.timers import Timers
from uhlp.expressions.expression_share import ExpressionShare
from uhlp.workflows.plan import EXPRESSIONS_EXHAUSTED
from uhlp.workflows.value_mapping import ValueMapping

A_TURN_S = 0.005
"""After so much of its expressions a run lets everybody else go first; one expression may take longer than that."""

MOST_COMPUTED_S = 10.0
"""Of all expressions of a run, from one wait to the next."""

Names = Mapping[str, Any]


class Expression(Protocol):
    """uhlp.expressions.WorkflowExpression."""

    def evaluate(self, names: Names) -> Any: ...
    def holds(self, names: Names) -> bool: ...


class Turns:
    """One instance a server: of all runs that have had a turn, one at a time has another one, and then the event loop
    turns. A run whose expressions take next to nothing never waits. Of an application's runs one at a time is among
    those that wait for a turn, and none as long as the application has taken more than its share.

    Everything here raises ExpressionFailed, and RunFails where the run has computed too long.
    """

    def __init__(self, *, clock: Clock, timers: Timers, share: ExpressionShare) -> None:
        self._clock = clock
        self._timers = timers
        self._share = share
        self._next = asyncio.Lock()
        self._next_of: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def value(self, run: LiveRun, given: "ValueMapping | Expression", names: Names) -> Any:
        """What a mapping or an expression gives."""
        if isinstance(given, ValueMapping):
            return await given.evaluate(partial(self.value, run, names=names))
        return await self._taken(run, partial(given.evaluate, names))

    async def holds(self, run: LiveRun, condition: "Expression | None", names: Names) -> bool:
        """Whether a condition gives true, as no condition does."""
        return condition is None or bool(await self._taken(run, partial(condition.holds, names)))

    async def _taken(self, run: LiveRun, evaluate: "partial[Any]") -> Any:
        app_id = run.app.app_id
        if run.turn_s < A_TURN_S and not self._share.owed_s(app_id):
            return self._timed(run, evaluate)
        next_of_application = self._next_of.setdefault(app_id, asyncio.Lock())
        async with next_of_application:
            await self._until_paid(app_id)
            async with self._next:
                run.turn_s = 0.0
                value = self._timed(run, evaluate)
                await asyncio.sleep(0)
                return value

    async def _until_paid(self, app_id: str) -> None:
        while owed_s := self._share.owed_s(app_id):
            paid = asyncio.Event()
            timer = self._timers.at(self._clock.now() + owed_s, paid.set)
            try:
                await paid.wait()
            finally:
                timer.cancel()

    def _timed(self, run: LiveRun, evaluate: "partial[Any]") -> Any:
        if run.computed_s > MOST_COMPUTED_S:
            told = (
                f"The run's expressions have taken more than {MOST_COMPUTED_S:g} s: take jit steps for what is large."
            )
            raise RunFails(failed_with(EXPRESSIONS_EXHAUSTED, told))
        began = self._clock.monotonic()
        try:
            return evaluate()
        finally:
            took_s = self._clock.monotonic() - began
            run.turn_s += took_s
            run.computed_s += took_s
            self._share.take(run.app.app_id, took_s)
