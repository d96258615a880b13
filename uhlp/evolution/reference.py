"""Reference: whose answer counts as right, and asking up on disagreement.

Agreement with one model call is not correctness, so a handler is wrong only when the reference upholds the model:
the owner's golden example if there is one, else the majority of three model calls. Agreement costs no extra call.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from uhlp.evals.comparator import Comparator
from uhlp.execution import ExecutionCall, Executor, PromptImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.split import input_hash

ReferenceKind = Literal["golden", "majority", "single"]
Outcome = Literal["right", "wrong", "ambiguous"]


class MeasurementFailed(Exception):
    """The reference could not be asked; the text says why. It is no score, for or against the handler."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the reference says of one answer of a handler; `expected` is None when there is no majority."""

    outcome: Outcome
    reference: ReferenceKind
    expected: Any


class Reference:
    """Answers "was the handler right?" for one input."""

    def __init__(self, *, executor: Executor) -> None:
        self._executor = executor

    async def model_answer(self, app: AppSnapshot, component: ComponentSnapshot, value: dict[str, Any]) -> Any:
        """One more answer of the model itself. Raises MeasurementFailed."""
        artifact = component.prompt_artifact
        if artifact is None:
            raise MeasurementFailed("the component has no prompt")
        result = await self._executor.run(
            ExecutionCall(
                app=app,
                component=component,
                implementation=PromptImplementation(tag="stable", artifact=artifact),
                input=value,
                request_id=f"reference-{uuid4().hex}",
                trace_id=uuid4().hex,
                timeout_s=component.definition.timeout_ms / 1000,
                source="internal",
                purpose="reference",
                group="serving",
            )
        )
        if result.outcome != "ok":
            raise MeasurementFailed(result.error.message if result.error else f"the model's answer: {result.failure}")
        return result.data

    def golden(self, component: ComponentSnapshot, value: dict[str, Any]) -> tuple[bool, Any]:
        """(True, expected) when the owner wrote down what is right for this input."""
        if component.golden:
            wanted = input_hash(value)
            for example in component.golden:
                if input_hash(example.input) == wanted:
                    return True, example.expected
        return False, None

    async def judge(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        value: dict[str, Any],
        *,
        first: Any,
        got: Any,
        comparator: Comparator,
    ) -> Verdict:
        """Hold the handler's answer `got` against the model's `first`; ask up only when they differ.

        Raises MeasurementFailed when no further model answer can be had.
        """
        has_golden, expected = self.golden(component, value)
        if has_golden:
            return Verdict("right" if comparator.equal(expected, got) else "wrong", "golden", expected)
        if comparator.equal(first, got):
            return Verdict("right", "single", first)
        return await self._majority(app, component, value, first=first, got=got, comparator=comparator)

    async def _majority(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        value: dict[str, Any],
        *,
        first: Any,
        got: Any,
        comparator: Comparator,
    ) -> Verdict:
        answers = [first]
        troubles = []
        asked = await asyncio.gather(
            *(self.model_answer(app, component, value) for _ in range(2)), return_exceptions=True
        )
        for answer in asked:
            if isinstance(answer, MeasurementFailed):
                troubles.append(str(answer))
            elif isinstance(answer, BaseException):
                raise answer
            else:
                answers.append(answer)
        if len(answers) == 1:
            raise MeasurementFailed(troubles[0])
        for answer in answers:
            if sum(comparator.equal(answer, other) for other in answers) >= 2:
                return Verdict("right" if comparator.equal(answer, got) else "wrong", "majority", answer)
        return Verdict("ambiguous", "majority", None)
