"""Turns: expressions hold the whole process while they are evaluated, so that runs with many of them take turns."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from uhlp.clock import Clock
from uhlp.execution.workflow.live_run import LiveRun, RunFails
from uhlp.execution.workflow.outcome import failed_with
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
    turns. A run whose expressions take next to nothing never waits.

    Everything here raises ExpressionFailed, and RunFails where the run has computed too long.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._next = asyncio.Lock()

    async def value(self, run: LiveRun, given: "ValueMapping | Expression", names: Names) -> Any:
        """What a mapping or an expression gives."""
        if isinstance(given, ValueMapping):
            return await given.evaluate_each(partial(self.value, run, names=names))
        return await self._taken(run, partial(given.evaluate, names))

    async def holds(self, run: LiveRun, condition: "Expression | None", names: Names) -> bool:
        """Whether a condition gives true, as no condition does."""
        return condition is None or bool(await self._taken(run, partial(condition.holds, names)))

    async def _taken(self, run: LiveRun, evaluate: "partial[Any]") -> Any:
        if run.turn_s < A_TURN_S:
            return self._timed(run, evaluate)
        async with self._next:
            run.turn_s = 0.0
            value = self._timed(run, evaluate)
            await asyncio.sleep(0)
            return value

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
