"""One comparison of a handler's answer with the reference: what evidence is made of."""

from dataclasses import dataclass
from typing import Any, Literal

from uhlp.evals.comparator import Comparator
from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import Reference
from uhlp.execution import ExecutionResult
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.split import input_hash

Stage = Literal["replay", "shadow", "audit"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The handler answered `got`, or failed (`has_answered` false, `why` says how); the reference says `expected`."""

    stage: Stage
    input_hash: str
    input: dict[str, Any]
    outcome: Literal["right", "wrong", "ambiguous"]
    reference: str
    expected: Any
    got: Any
    why: str = ""
    model_was_wrong: bool = False
    has_answered: bool = True

    def payload(self, redaction: Redaction) -> tuple[str, dict[str, Any]]:
        """(digest, value) of what a person needs to judge it; the ledger holds the digest alone.

        `inputHash` is of the input as it came: it names the input even where redaction has changed it.
        """
        shown = {"input": self.input, "expected": self.expected, "got": self.got}
        value = {**{name: redaction.apply(one) for name, one in shown.items()}, "why": self.why}
        value["inputHash"] = self.input_hash
        return digest_of(value), value


async def compare(
    reference: Reference,
    app: AppSnapshot,
    component: ComponentSnapshot,
    value: dict[str, Any],
    *,
    stage: Stage,
    first: Any,
    handler_result: ExecutionResult,
    comparator: Comparator,
) -> Comparison:
    """Hold one handler result that is no deoptimise against the model's first answer, asking up when they differ.

    An exception, a timeout or a schema failure is wrong without asking. Raises MeasurementFailed.
    """
    digest = input_hash(value)
    if handler_result.outcome == "failed":
        why = f"{handler_result.failure}: {handler_result.error.message if handler_result.error else ''}"
        return Comparison(stage, digest, value, "wrong", "single", first, None, why, has_answered=False)
    got = handler_result.data
    verdict = await reference.judge(app, component, value, first=first, got=got, comparator=comparator)
    why = "; ".join(comparator.differences(verdict.expected, got)) if verdict.outcome == "wrong" else ""
    model_was_wrong = verdict.outcome == "right" and not comparator.equal(first, got)
    return Comparison(
        stage, digest, value, verdict.outcome, verdict.reference, verdict.expected, got, why, model_was_wrong
    )
