"""One comparison of a handler's answer with the reference: what evidence is made of."""

from dataclasses import dataclass
from typing import Any, Literal

from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import Dispute, Outcome, Reference, ReferenceKind
from uhlp.execution import ExecutionResult, was_cut_off
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.split import input_hash

Stage = Literal["replay", "shadow", "audit"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The handler answered `got`, or failed (`has_answered` false, `why` says how); the reference says `expected`.
    `was_cut_off`: it failed by what may be the machine's doing.

    `answers` are the model's, where it was asked up; a person who has to decide sees them. `is_gain` is for a prompt
    against a prompt alone (`prompt_observer`).
    """

    stage: Stage
    input_hash: str
    input: dict[str, Any]
    outcome: Outcome
    reference: ReferenceKind
    expected: Any
    got: Any
    why: str = ""
    model_was_wrong: bool = False
    has_answered: bool = True
    was_cut_off: bool = False
    answers: tuple[Any, ...] = ()
    is_gain: bool = False

    @property
    def loss(self) -> float:
        """z: 1 where it is wrong, -1 where only the prompt that it is to replace differed from itself."""
        return 1.0 if self.outcome == "wrong" else -1.0 if self.is_gain else 0.0

    def payload(self, redaction: Redaction) -> tuple[str, dict[str, Any]]:
        """(digest, value) of what a person needs to judge it; the ledger holds the digest alone.

        `inputHash` is of the input as it came: it names the input even where redaction has changed it. `upheld`: more
        than one call of the model says that `expected` is right.
        """
        shown = {"input": self.input, "expected": self.expected, "got": self.got}
        value = {**{name: redaction.apply(one) for name, one in shown.items()}, "why": self.why}
        value["inputHash"] = self.input_hash
        value["upheld"] = self.reference != "single"
        return digest_of(value), value


async def compare(
    reference: Reference, dispute: Dispute, *, stage: Stage, handler_result: ExecutionResult
) -> Comparison:
    """Settle one handler result that is no deoptimise; `dispute.got` is its data.

    An exception, a timeout or a schema failure is wrong without asking. Raises MeasurementFailed.
    """
    digest = dispute.input_hash or input_hash(dispute.value)
    if handler_result.outcome == "failed":
        why = f"{handler_result.failure}: {handler_result.error.message if handler_result.error else ''}"
        return Comparison(
            stage, digest, dispute.value, "wrong", "single", dispute.first, None, why,
            has_answered=False, was_cut_off=was_cut_off(handler_result),
        )  # fmt: skip
    return await settled(reference, dispute, stage=stage)


async def settled(reference: Reference, dispute: Dispute, *, stage: Stage) -> Comparison:
    """The comparison of an answer. Raises MeasurementFailed."""
    verdict = await reference.settle(dispute)
    comparator, got = dispute.comparator, dispute.got
    why = ""
    if verdict.outcome == "wrong":
        why = "; ".join(comparator.differences(verdict.expected, got))
    elif verdict.outcome == "ambiguous":
        why = "; ".join(comparator.differences(dispute.first, got))
    return Comparison(
        stage, dispute.input_hash or input_hash(dispute.value), dispute.value, verdict.outcome, verdict.reference,
        verdict.expected, got, why,
        model_was_wrong=verdict.outcome == "right" and not comparator.beside_text.equal(dispute.first, got),
        answers=verdict.answers,
    )  # fmt: skip
