"""Reference: whose answer counts as right, and asking up on disagreement.

Agreement with one model call is not correctness, so a handler is wrong only when the reference upholds the model. Who
outranks whom: golden example, human adjudication, judge model, majority of three calls, one call. Who is asked, the
free ones first and nobody once it is settled:

    golden or a person's word known ──► it decides
    handler agrees with the first call ──► right ("single"), at no further cost
    majority of three calls upholds the handler ──► right ("majority")
    majority upholds the model ──► the judge, if it is calibrated: it may uphold the handler; else wrong ("majority")
    no majority ──► the judge, if there is one; where it cannot say: ambiguous, an open question for a person

A judge that is not calibrated outvotes nobody, it only breaks ties. Fields of free text cannot be compared without a
judge: where two answers differ in them alone, a calibrated one is asked at once (`Comparator.differ_in_text_alone`).
"""

from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from uhlp.errors import BudgetExhausted
from uhlp.evals.comparator import Comparator
from uhlp.evolution.judge import Calibration, Judge, KnownCase
from uhlp.evolution.measuring import BudgetSpent, Spending
from uhlp.evolution.measuring import MeasurementFailed as MeasurementFailed
from uhlp.execution import ExecutionCall, Executor, PromptImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot, GoldenExample
from uhlp.traffic.adjudications import Adjudications
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.split import input_hash, split_of

ReferenceKind = Literal["golden", "human", "judge", "majority", "single"]
Outcome = Literal["right", "wrong", "ambiguous"]

_COMPONENTS_KEPT = 500
"""Components whose golden examples stay hashed: applications come and go."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the reference says of one answer of a handler; `expected` is None when nobody could say.

    `answers` are what the model answered, the first call first.
    """

    outcome: Outcome
    reference: ReferenceKind
    expected: Any
    answers: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """What the owner or a person said is right for an input."""

    reference: Literal["golden", "human"]
    expected: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A handler answered `got` to `value`, the model `first`. `spending` is charged with what it takes to settle it."""

    app: AppSnapshot
    component: ComponentSnapshot
    value: dict[str, Any]
    first: Any
    got: Any
    comparator: Comparator
    spending: Spending
    input_hash: str = ""
    """Of the input as it came, where `value` is redacted; empty: of `value`."""


class Reference:
    """Answers "was the handler right?" for one input. Without `adjudications` and `judge` they are not asked."""

    def __init__(
        self, *, executor: Executor, adjudications: Adjudications | None = None, judge: Judge | None = None
    ) -> None:
        self._executor = executor
        self._adjudications = adjudications
        self._judge = judge
        self._golden: dict[tuple[str, str], tuple[tuple[GoldenExample, ...], dict[str, Any]]] = {}

    async def model_answer(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        value: dict[str, Any],
        *,
        spending: Spending,
        purpose: Literal["reference", "audit"] = "reference",
    ) -> Any:
        """One more answer of the model itself; an audit checks what a user was answered. Raises MeasurementFailed."""
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
                purpose=purpose,
                group="serving",
            )
        )
        spending.add_usage(result.usage, is_audit=purpose == "audit")
        if isinstance(result.error, BudgetExhausted):
            raise BudgetSpent(result.error.message)
        if result.outcome != "ok":
            raise MeasurementFailed(result.error.message if result.error else f"the model's answer: {result.failure}")
        return result.data

    def known(self, app: AppSnapshot, component: ComponentSnapshot, hashed: str) -> Known | None:
        """What is known to be right for the input of this hash: golden, else a person's word."""
        component_id = component.definition.component_id
        if component.golden:
            examples, by_hash = self._golden.get((app.app_id, component_id), ((), {}))
            if examples is not component.golden:
                by_hash = {input_hash(one.input): one.expected for one in component.golden}
                self._golden.pop((app.app_id, component_id), None)
                self._golden[app.app_id, component_id] = (component.golden, by_hash)
                if len(self._golden) > _COMPONENTS_KEPT:
                    del self._golden[next(iter(self._golden))]
            if hashed in by_hash:
                return Known("golden", by_hash[hashed])
        if self._adjudications is not None:
            said = self._adjudications.of(app.app_id, component_id, hashed)
            if said is not None:
                return Known("human", said.expected)
        return None

    async def settle(self, dispute: Dispute) -> Verdict:
        """Hold the handler's answer against the model's; ask up only where they differ (see the module's head).

        Raises MeasurementFailed when somebody who is needed could not be asked.
        """
        one = dispute
        known = self.known(one.app, one.component, one.input_hash or input_hash(one.value))
        if known is not None:
            expected = _as_recorded(one, known.expected)
            if one.comparator.differ_in_text_alone(expected, one.got):
                return await self._by_text(one, expected, known.reference)
            is_right = one.comparator.equal(expected, one.got)
            return Verdict("right" if is_right else "wrong", known.reference, expected)
        if one.comparator.equal(one.first, one.got):
            return Verdict("right", "single", one.first, (one.first,))
        if one.comparator.differ_in_text_alone(one.first, one.got):
            return await self._by_text(one, one.first, "judge")
        return await self._by_majority(one)

    async def agree(self, dispute: Dispute) -> bool:
        """Whether two answers of the model to one input mean the same: for A/A. Raises MeasurementFailed."""
        one = dispute
        if not one.comparator.differ_in_text_alone(one.first, one.got):
            return one.comparator.equal(one.first, one.got)
        return await self._word(one, one.first) == "both"

    async def calibration(
        self, app: AppSnapshot, component: ComponentSnapshot, comparator: Comparator, *, spending: Spending
    ) -> Calibration | None:
        """How far the component's judge may be trusted; None without one. Raises MeasurementFailed."""
        if self._judge is None or not self._judge.is_configured(app):
            return None
        cases = self._known_cases(app, component, comparator)
        return await self._judge.calibration(app, component, cases, spending=spending)

    async def _by_majority(self, one: Dispute) -> Verdict:
        """The second call is asked before the third: two of three that agree are a majority already."""
        alike = one.comparator.beside_text
        answers = [one.first]
        majority: list[Any] = []
        while len(answers) < 3 and not majority:
            answers.append(await self.model_answer(one.app, one.component, one.value, spending=one.spending))
            majority = [each for each in answers if sum(alike.equal(each, other) for other in answers) >= 2]
        if not majority:
            return await self._by_judge(one, tuple(answers))
        if one.comparator.equal(majority[0], one.got):
            return Verdict("right", "majority", majority[0], tuple(answers))
        if one.comparator.differ_in_text_alone(majority[0], one.got):
            return await self._by_text(one, majority[0], "judge")
        calibration = await self.calibration(one.app, one.component, one.comparator, spending=one.spending)
        if calibration is not None and calibration.is_trusted:
            word = await self._word(one, majority[0])
            if word in ("first", "both"):
                return Verdict("right", "judge", one.got, tuple(answers))
            if word == "second":
                return Verdict("wrong", "judge", majority[0], tuple(answers))
        return Verdict("wrong", "majority", majority[0], tuple(answers))

    async def _by_judge(self, one: Dispute, answers: tuple[Any, ...]) -> Verdict:
        """Three calls, three answers: a judge breaks the tie between the handler and the first call."""
        word = await self._word(one, one.first)
        if word is None:
            return Verdict("ambiguous", "majority", None, answers)
        if word == "second":
            return Verdict("wrong", "judge", one.first, answers)
        return Verdict("right", "judge", one.got, answers)

    async def _by_text(self, one: Dispute, expected: Any, reference: ReferenceKind) -> Verdict:
        """`expected` and the handler's answer differ in wording alone: a calibrated judge says whether it matters."""
        calibration = await self.calibration(one.app, one.component, one.comparator, spending=one.spending)
        word = await self._word(one, expected) if calibration is not None and calibration.is_trusted else None
        if word is None:
            return Verdict("ambiguous", reference, None, (expected,))
        return Verdict("wrong" if word == "second" else "right", reference, expected, (expected,))

    async def _word(self, one: Dispute, other: Any) -> Literal["first", "second", "both"] | None:
        """The judge's word on the handler's answer ("first") and `other`; None when it says nothing."""
        if self._judge is None or not self._judge.is_configured(one.app):
            return None
        return await self._judge.word(one.app, one.component, one.value, one.got, other, spending=one.spending)

    def _known_cases(self, app: AppSnapshot, component: ComponentSnapshot, comparator: Comparator) -> list[KnownCase]:
        """Inputs with a right and a wrong answer, TRAIN side only: what is held out is shown to no model as known.

        People's words come first, with the very answers they refused. A golden example lacks a wrong answer of its
        own and borrows another example's: such cases are easier, and better than none.
        """
        cases: list[KnownCase] = []
        if self._adjudications is not None:
            for said in self._adjudications.all_of(app.app_id, component.definition.component_id):
                if said.split == "train":
                    wrong = (one for one in said.rejected if not comparator.equal(one, said.expected))
                    cases += [KnownCase(said.input, said.expected, one) for one in wrong]
        golden = [one for one in component.golden if split_of(input_hash(one.input)) == "train"]
        for place, example in enumerate(golden):
            others = (golden[place - step].expected for step in range(1, min(len(golden), 20)))
            other = next((one for one in others if not comparator.equal(one, example.expected)), None)
            if other is not None:
                cases.append(KnownCase(example.input, example.expected, other))
        return cases


def _as_recorded(one: Dispute, expected: Any) -> Any:
    """What is known to be right, masked where the input is: a handler that saw "[redacted]" can answer no better."""
    if not one.input_hash or one.input_hash == input_hash(one.value):
        return expected
    return Redaction(one.component.configuration.get("redact", ())).apply(expected)
