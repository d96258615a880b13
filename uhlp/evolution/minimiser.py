"""Minimiser: makes a counterexample small enough to say what it is about.

An input is reduced as long as the handler still gets the smaller one wrong. What is right for a smaller input is never
made up: a person's word, a golden example or a recorded answer is taken where there is one, and else the model is
asked, once a step; at the end a majority of its answers has to uphold the result, or the input stays as it was. These
calls are charged to the candidate and bounded together with the executions. A handler that fails (an exception, a
timeout) is reduced without asking anybody: failing is wrong whatever is right.

TRAIN inputs only, and only to inputs on the TRAIN side: a smaller input may fall on the other half, and what is held
out is shown to no coder. Held-out cases stay whole; only the host replays them. Small inputs stay as they are, too.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uhlp import strict_json
from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import trial_of
from uhlp.evolution.config_sections import MinimisingConfig
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.reductions import reductions
from uhlp.evolution.reference import Dispute, Reference
from uhlp.execution import ExecutionResult, Executor, HandlerImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample
from uhlp.traffic.split import input_hash, split_of

_UNANSWERED_IN_A_ROW = 2
_EXECUTIONS_OF_A_TIMEOUT = 20
"""What one that hangs counts: it takes that much longer."""


@dataclass(frozen=True, slots=True)
class Minimised:
    """A smaller input that the handler gets wrong: `expected` is upheld by the reference, `got` is its answer, or None
    and `why` says how it failed."""

    input: dict[str, Any]
    input_hash: str
    expected: Any
    got: Any
    why: str


class _BudgetSpent(Exception):
    """No executions or model calls are left for this attempt."""


class Minimiser:
    """Of one attempt: its budget is shared by all inputs that are put to it. `handlers` run in a sandbox.

    `train` tells what is recorded for an input, and which fields every input has.
    """

    def __init__(
        self,
        *,
        app: AppSnapshot,
        component: ComponentSnapshot,
        comparator: Comparator,
        train: Sequence[Sample],
        executor: Executor,
        reference: Reference,
        spending: Spending,
        config: MinimisingConfig,
        timeout_s: float,
    ) -> None:
        self._app = app
        self._component = component
        self._comparator = comparator
        self._recorded = {sample.input_hash: sample.output for sample in reversed(train)}
        self._needed = _common_fields(train)
        self._executor = executor
        self._reference = reference
        self._spending = spending
        self._config = config
        self._timeout_s = timeout_s
        self.inputs_left = config.inputs
        self.executions_left = config.executions
        self.model_calls_left = config.model_calls
        self._unanswered = 0

    async def minimise(self, handler: HandlerImplementation, value: Any, expected: Any) -> Minimised | None:
        """The smallest form that was found of `value`, to which `handler` does not answer `expected`; None when it is
        small already, cannot be reproduced or made smaller, or nobody can say what is right."""
        if not isinstance(value, dict) or _size(value) <= self._config.small_bytes or not self.inputs_left:
            return None
        self.inputs_left -= 1
        try:
            seen = await self._run(handler, value)
        except _BudgetSpent:
            return None
        if seen.outcome == "failed" and not seen.is_refusal:
            smallest = await self._smallest(value, lambda smaller: self._still_fails(handler, smaller, seen))
        elif seen.outcome == "ok" and not self._comparator.equal(expected, seen.data):
            smallest = await self._smallest(value, lambda smaller: self._still_differs(handler, smaller))
        else:
            return None
        return None if smallest is None else await self._upheld(handler, smallest)

    async def _smallest(
        self, value: dict[str, Any], is_still_wrong: Callable[[dict[str, Any]], Any]
    ) -> dict[str, Any] | None:
        smallest = None
        try:
            at: dict[str, Any] | None = value
            while at is not None:
                at = await self._next(at, is_still_wrong)
                smallest = at or smallest
        except (_BudgetSpent, MeasurementFailed):
            pass  # as small as could be afforded
        return smallest

    async def _next(
        self, value: dict[str, Any], is_still_wrong: Callable[[dict[str, Any]], Any]
    ) -> dict[str, Any] | None:
        for smaller in reductions(value):
            if self._is_admissible(smaller) and await is_still_wrong(smaller):
                return smaller  # type: ignore[no-any-return]  # reductions of an object are objects
        return None

    def _is_admissible(self, value: dict[str, Any]) -> bool:
        """Whether requests could look like this, on the side that a coder may see."""
        validator = self._component.input_validator
        return (
            self._needed <= value.keys()
            and (validator is None or validator.is_valid(value))
            and split_of(input_hash(value)) == "train"
        )

    async def _still_fails(self, handler: HandlerImplementation, value: dict[str, Any], seen: ExecutionResult) -> bool:
        result = await self._run(handler, value)
        return result.outcome == "failed" and result.failure == seen.failure

    async def _still_differs(self, handler: HandlerImplementation, value: dict[str, Any]) -> bool:
        result = await self._run(handler, value)
        if result.outcome != "ok":
            return False
        try:
            expected = await self._expected(value)
        except MeasurementFailed:  # the model may not know what to do with this one, or be down
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED_IN_A_ROW:
                raise
            return False
        self._unanswered = 0
        return not self._comparator.beside_text.equal(expected, result.data)

    async def _upheld(self, handler: HandlerImplementation, value: dict[str, Any]) -> Minimised | None:
        hashed = input_hash(value)
        try:
            result = await self._run(handler, value, is_last=True)
            first = await self._expected(value, is_last=True)
            dispute = Dispute(
                app=self._app, component=self._component, value=value, first=first,
                got=result.data if result.outcome == "ok" else None, comparator=self._comparator,
                spending=self._spending, input_hash=hashed,
            )  # fmt: skip
            verdict = await self._reference.settle(dispute)
        except MeasurementFailed:
            return None
        if verdict.outcome != "wrong" or result.outcome == "deoptimize":
            return None
        why = ""
        if result.outcome == "failed":
            why = f"{result.failure}: {result.error.message if result.error else ''}"
        return Minimised(value, hashed, verdict.expected, dispute.got, why)

    async def _expected(self, value: dict[str, Any], *, is_last: bool = False) -> Any:
        """What is right for `value`, as far as one answer says; the free sources first. Raises MeasurementFailed."""
        hashed = input_hash(value)
        known = self._reference.known(self._app, self._component, hashed)
        if known is not None:
            return known.expected
        if hashed not in self._recorded:
            if self.model_calls_left <= 0 and not is_last:
                raise _BudgetSpent
            self.model_calls_left -= 1
            self._recorded[hashed] = await self._reference.model_answer(
                self._app, self._component, value, spending=self._spending
            )
        return self._recorded[hashed]

    async def _run(
        self, handler: HandlerImplementation, value: dict[str, Any], *, is_last: bool = False
    ) -> ExecutionResult:
        if self.executions_left <= 0 and not is_last:
            raise _BudgetSpent
        result = await self._executor.run(
            trial_of(self._app, self._component, handler, value, timeout_s=self._timeout_s)
        )
        self.executions_left -= _EXECUTIONS_OF_A_TIMEOUT if result.failure == "timeout" else 1
        return result


def _common_fields(train: Sequence[Sample]) -> frozenset[str]:
    """Fields that every recorded input has: whatever the schema allows, the prompt may need them."""
    inputs = [sample.input for sample in train if isinstance(sample.input, Mapping)]
    return frozenset.intersection(*(frozenset(one) for one in inputs)) if inputs else frozenset()


def _size(value: Any) -> int:
    return len(strict_json.dumps(value))
