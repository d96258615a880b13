"""PromptObserver: a prompt held against a prompt, off the request path.

Both are noisy: neither answers the same twice. So what counts is how much more a shorter prompt differs than the one
that it is to replace differs from itself:

    first   the answer that is there: in shadow what the user got, by the prompt in service; where the shorter one has
            answered the user, the other is asked for it
    R = 1   the shorter prompt answers otherwise than `first` (or not at all, by its own fault)
    N = 1   the prompt in service, asked once more, answers otherwise than `first`
    z = R - N, in -1, 0, 1; its mean is 0 for two equal prompts, however noisy they are

Where the right answer is known, R and N are held against that, and nobody is asked once more. Free text is the same
where a judge says that both answers are right, as for A/A. What tools told the answer's own execution they tell every
other one: nothing is done twice, and a call that nobody has made before counts as another answer, on both sides.
"""

from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from uhlp.errors import BudgetExhausted
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.comparison import Comparison, Stage
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.entry_order import Place
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.measuring import BudgetSpent, MeasurementFailed
from uhlp.evolution.observation import Served, comparator_of, recorded_calls
from uhlp.evolution.reference import Dispute, Reference, ReferenceKind
from uhlp.evolution.rollouts import LiveHandler
from uhlp.evolution.sameness import comparator_of_prompts
from uhlp.evolution.statistics import Verdict
from uhlp.execution import (
    ExecutionCall,
    ExecutionResult,
    Executor,
    PromptImplementation,
    Purpose,
    may_be_its_own,
)
from uhlp.registry.snapshot import Artifact
from uhlp.traffic.split import input_hash

_OTHER = object()
"""Stands for an answer that cannot be compared with any, because a tool was asked what nobody has asked."""


@dataclass(slots=True)
class Pair:
    """One comparison on its way: what the shorter prompt did, and what is known so far of the other one."""

    served: Served
    live: LiveHandler
    stage: Stage
    result: ExecutionResult
    place: Place
    first: Any = None
    has_first: bool = False
    again: Any = None
    has_again: bool = False


class PromptObserver:
    """Measures what one served request shows of a prompt. Raises MeasurementFailed when somebody cannot be asked."""

    def __init__(
        self,
        *,
        executor: Executor,
        reference: Reference,
        governor: SafetyGovernor,
        audit_debt: AuditDebt,
        config: ConfigInForce,
    ) -> None:
        self._config = config
        self._executor = executor
        self._reference = reference
        self._governor = governor
        self._audit_debt = audit_debt

    async def measure(
        self, served: Served, live: LiveHandler, evidence: LiveEvidence, place: Place, *, draw: float
    ) -> None:
        """`draw` decides whether an answer that users got is audited."""
        place.standing = "trusted"
        if live is served.prompt:
            result = served.prompt_result
        else:
            result = served.handler_result if live is served.live else None
        if result is None and live is served.prompt:
            return  # a handler answered, or a cache did
        is_shadow = result is None
        if is_shadow:
            result = await self._in_shadow(served, live, evidence, draw)
        if result is None or result.is_refusal:
            return
        if result.outcome != "ok" and not may_be_its_own(result):
            if is_shadow:
                raise _failure_of(result, "the shorter prompt")
            return
        if result.outcome != "ok" and served.model_result is not None and served.model_result.outcome != "ok":
            return  # the prompt before it was asked as well and failed alike: that is the model's doing
        await self._governor.record_execution(live.candidate_id, result, is_live=not is_shadow)
        if not is_shadow and draw >= live.audit_share:
            return
        pair = Pair(served, live, "shadow" if is_shadow else "audit", result, place)
        if is_shadow and served.model_result is not None:
            pair.first, pair.has_first = served.model_result.data, True
        await self.settle(pair, evidence)

    async def settle(self, pair: Pair, evidence: LiveEvidence) -> None:
        """Ask what is still to be asked, judge, and enter the comparison. What fails on the way is kept, with its
        place: to leave out what cannot be judged might flatter one of the prompts.
        """
        try:
            comparison = await self._compared(pair, evidence)
        except MeasurementFailed:
            evidence.keep_unasked(pair, pair.place)
            raise
        await self._governor.record(pair.live.candidate_id, comparison, pair.place)

    async def _in_shadow(
        self, served: Served, live: LiveHandler, evidence: LiveEvidence, draw: float
    ) -> ExecutionResult | None:
        """The shorter prompt's answer beside the one that users got; None where there is nothing to learn from it."""
        answered = served.model_result
        if served.live is not None or answered is None or answered.outcome != "ok":
            return None
        if not evidence.may_prove(input_hash(served.input), duplicates_cap=self._config.now.duplicates_cap):
            return None
        if evidence.account.verdict is not Verdict.HOLD and draw >= live.audit_share:
            return None  # what is proven, and waits, is not worth two calls a request
        return await self._ask(served, live.implementation.artifact, live.implementation.label, "shadow", evidence)

    async def _compared(self, pair: Pair, evidence: LiveEvidence) -> Comparison:
        served, result = pair.served, pair.result
        hashed = input_hash(served.input)
        known = self._reference.known(served.app, served.component, hashed)
        purpose: Purpose = "audit" if pair.stage == "audit" else "reference"
        if not pair.has_first:
            pair.first, pair.has_first = await self._ask_before(pair, purpose, evidence), True
        if known is None and not pair.has_again:
            pair.again, pair.has_again = await self._ask_before(pair, purpose, evidence), True
        got: object = result.data
        if result.outcome != "ok" or result.unrecorded:
            got = _OTHER
        right = pair.first if known is None else known.expected
        is_other = not await self._same(served, right, got, evidence)
        is_noise = not await self._same(served, right, pair.again if known is None else pair.first, evidence)
        kind: ReferenceKind = "single" if known is None else known.reference
        why = ""
        if result.outcome != "ok":
            why = f"{result.failure}: {result.error.message if result.error else ''}"
        elif got is _OTHER:
            why = f"it asked {', '.join(result.unrecorded)} what was not asked before"
        elif is_other and right is not _OTHER:
            why = "; ".join(comparator_of(served.component).differences(right, got))
        return Comparison(
            pair.stage, hashed, served.input, "wrong" if is_other and not is_noise else "right", kind,
            None if right is _OTHER else right, None if got is _OTHER else got, why,
            has_answered=result.outcome == "ok", is_gain=is_noise and not is_other,
        )  # fmt: skip

    async def _same(self, served: Served, one: object, other: object, evidence: LiveEvidence) -> bool:
        if one is _OTHER or other is _OTHER:
            return False
        return await self._reference.agree(
            Dispute(
                app=served.app, component=served.component, value=served.input, first=one, got=other,
                comparator=comparator_of_prompts(served.component, is_judged=evidence.is_judged),
                spending=evidence.spending,
            )
        )  # fmt: skip

    async def _ask_before(self, pair: Pair, purpose: Purpose, evidence: LiveEvidence) -> object:
        """One answer by the prompt that the shorter one is held against."""
        served, previous = pair.served, pair.live.previous
        if previous is None:
            raise MeasurementFailed("the prompt before it is not known")
        if purpose == "audit" and self._audit_debt.cannot_pay(served.app):
            self._audit_debt.owe(served.app, served.component)
            raise BudgetSpent("an audit is due, and the budget for it is spent")
        result = await self._ask(served, previous, "prompt@stable", purpose, evidence)
        if isinstance(result.error, BudgetExhausted):
            raise BudgetSpent(result.error.message)
        if result.unrecorded:
            return _OTHER
        if result.outcome != "ok":
            if may_be_its_own(result):
                return _OTHER
            raise _failure_of(result, "the prompt in service")
        return result.data

    async def _ask(
        self, served: Served, artifact: Artifact, label: str, purpose: Purpose, evidence: LiveEvidence
    ) -> ExecutionResult:
        result = await self._executor.run(
            ExecutionCall(
                app=served.app,
                component=served.component,
                implementation=PromptImplementation(artifact, label.partition("@")[2]),
                input=served.input,
                request_id=f"{purpose}-{uuid4().hex}",
                trace_id=uuid4().hex,
                timeout_s=served.component.definition.timeout_ms / 1000,
                source="internal",
                purpose=purpose,
                group="trial" if purpose == "shadow" else "serving",
                recorded=recorded_calls(served),
            )
        )
        evidence.spending.add_usage(result.usage, is_audit=purpose == "audit")
        return result


def _failure_of(result: ExecutionResult, who: str) -> MeasurementFailed:
    message = result.error.message if result.error else str(result.failure)
    if isinstance(result.error, BudgetExhausted):
        return BudgetSpent(message)
    return MeasurementFailed(f"{who} could not be asked: {message}")
