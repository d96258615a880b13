"""The replacement gate: a handler against the one in service, on the recorded inputs that no proposer has seen.

It answers at least as many of them, and of those that both answer it gets no more wrong. (On inputs that earlier
handlers got wrong the regression gate says the same.) Both are held to the recorded answer; where only the new handler
differs from it, the reference is asked, because the recorded answer may have been the wrong one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import Replayed, replay
from uhlp.evolution.classes import ClassGuard
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.measuring import MeasurementFailed
from uhlp.evolution.reference import Dispute, Reference
from uhlp.execution import Executor, HandlerImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample

_ASKED_UP = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacementGate:
    """The handler in service, as it answers now: `guard` withholds classes that it has not earned."""

    in_service: HandlerImplementation
    guard: ClassGuard | None
    executor: Executor
    reference: Reference
    app: AppSnapshot
    component: ComponentSnapshot
    comparator: Comparator
    timeout_s: float
    concurrency: int

    async def refusal(
        self, results: Sequence[Replayed], samples: Sequence[Sample], evidence: LiveEvidence
    ) -> str | None:
        """Why the new handler, which made `results` of `samples`, must not replace it; None when it may.

        Raises MeasurementFailed when the handler in service could not be run, or a difference could not be judged.
        """
        before = await replay(
            self.executor, self.app, self.component, self.in_service, samples, self.comparator,
            timeout_s=self.timeout_s, concurrency=self.concurrency,
        )  # fmt: skip
        if before.refused and not before.n:
            raise MeasurementFailed(f"the handler in service: {before.results[0].why}")
        pairs = [
            (now, was)
            for now, was in zip(results, before.results, strict=True)
            if not {"refused", "unrecorded"} & {now.outcome, was.outcome}
        ]
        answers = sum(now.is_answer and evidence.standing(now.got) != "excluded" for now, _ in pairs)
        answered = sum(self._is_used(was) for _, was in pairs)
        if answers < answered:
            return (
                f"of {len(pairs)} recorded inputs it would answer {answers} itself; "
                f"the handler in service answers {answered}"
            )
        both = [(now, was) for now, was in pairs if now.is_answer and self._is_used(was)]
        better = sum(now.outcome == "agrees" and was.outcome == "differs" for now, was in both)
        worse = [now for now, was in both if now.outcome == "differs" and was.outcome == "agrees"]
        if len(worse) > better:
            worse = await self._upheld(worse, evidence)
        if len(worse) > better:
            return (
                f"of {len(both)} recorded inputs that both answer it gets {len(worse)} wrong that the handler in "
                f"service gets right, and {better} right that that one gets wrong"
            )
        return None

    def _is_used(self, was: Replayed) -> bool:
        return was.is_answer and (self.guard is None or not self.guard.holds_back(was.got))

    async def _upheld(self, worse: Sequence[Replayed], evidence: LiveEvidence) -> list[Replayed]:
        """Those that the reference calls wrong, too; beyond the first few the recorded answers stand."""
        upheld = list(worse[_ASKED_UP:])
        for one in worse[:_ASKED_UP]:
            verdict = await self.reference.settle(
                Dispute(
                    app=self.app, component=self.component, value=one.input, first=one.expected, got=one.got,
                    comparator=self.comparator, spending=evidence.spending, input_hash=one.input_hash,
                )
            )  # fmt: skip
            if verdict.outcome == "wrong":
                upheld.append(one)
        return upheld
