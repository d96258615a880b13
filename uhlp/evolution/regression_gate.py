"""The regression gate: a handler against the last one, on inputs that earlier handlers got wrong.

It answers at least as many of them rightly, and of its answers at least the same share is right. Leaving one to the
model is never wrong, it only is no right answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import Replayed, replay
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.reference import Dispute, Reference
from uhlp.evolution.regression_cases import Case, named, sample_of
from uhlp.evolution.verification import handler_timeout_s
from uhlp.execution import Executor, HandlerImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

Outcome = Literal["right", "wrong", "left", "unknown"]
_OUTCOMES: dict[str, Outcome] = {
    "agrees": "right", "differs": "wrong", "failed": "wrong", "deoptimised": "left", "unrecorded": "unknown",
}  # fmt: skip
_SETTLED: dict[str, Outcome] = {"right": "right", "wrong": "wrong", "ambiguous": "unknown"}
_ASKED_UP = 20
"""Differences from an answer that only one call of the model gave; more of them are left out."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a handler is worse than the last one; `wrong` are its wrong answers to known cases, `upheld` the hashes of
    those whose right answer is certain."""

    reason: str
    wrong: tuple[Replayed, ...]
    upheld: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegressionGate:
    """Cases that handlers are held against."""

    cases: Sequence[Case]
    executor: Executor
    reference: Reference
    app: AppSnapshot
    component: ComponentSnapshot
    comparator: Comparator
    spending: Spending
    concurrency: int

    async def refusal(self, handler: HandlerImplementation, last: HandlerImplementation) -> Refusal | None:
        """Why `handler` is worse than `last`; None when it is not. Raises MeasurementFailed when one of them could not
        be run, or a difference could not be judged."""
        now, results = await self._outcomes(handler)
        before, _ = await self._outcomes(last)
        rows = [row for row in zip(self.cases, now, before, results, strict=True) if "unknown" not in row[1:3]]
        now, before = [row[1] for row in rows], [row[2] for row in rows]
        counts = f"of {len(rows)} inputs that earlier handlers got wrong it answers"
        if now.count("right") < before.count("right"):
            blamed = [case for case, is_, was, _ in rows if was == "right" and is_ != "right"]
            reason = f"{counts} {now.count('right')} rightly, the last handler {before.count('right')}"
        elif agreement(now) < agreement(before):
            blamed = [case for case, is_, _, _ in rows if is_ == "wrong"]
            reason = (
                f"{counts} {now.count('right')} rightly and {now.count('wrong')} wrongly, "
                f"the last handler {before.count('right')} and {before.count('wrong')}"
            )
        else:
            return None
        wrong = [(case, one) for case, is_, _, one in rows if is_ == "wrong"]
        upheld = frozenset(case.input_hash for case, _ in wrong if case.is_certain)
        return Refusal(f"{reason}: {named(blamed)}", tuple(one for _, one in wrong), upheld)

    async def _outcomes(self, handler: HandlerImplementation) -> tuple[list[Outcome], Sequence[Replayed]]:
        """What `handler` makes of each case, in their order."""
        report = await replay(
            self.executor, self.app, self.component, handler, [sample_of(one, self.app.app_id) for one in self.cases],
            self.comparator, timeout_s=handler_timeout_s(self.component), concurrency=self.concurrency,
        )  # fmt: skip
        if report.refused:
            raise MeasurementFailed(f"regression set: no sandbox for {report.refused} of {len(self.cases)} cases")
        asked = 0
        found: list[Outcome] = []
        for case, one in zip(self.cases, report.results, strict=True):
            if one.outcome == "differs" and not case.is_certain:
                asked += 1
                found.append(await self._settled(case, one) if asked <= _ASKED_UP else "unknown")
            else:
                found.append(_OUTCOMES[one.outcome])
        return found, report.results

    async def _settled(self, case: Case, one: Replayed) -> Outcome:
        verdict = await self.reference.settle(
            Dispute(
                app=self.app, component=self.component, value=case.input, first=case.expected, got=one.got,
                comparator=self.comparator, spending=self.spending, input_hash=case.input_hash,
            )
        )  # fmt: skip
        return _SETTLED[verdict.outcome]


def agreement(outcomes: Sequence[Outcome]) -> float:
    """Share of the answers that are right; 1 without answers: nothing was wrong."""
    answered = outcomes.count("right") + outcomes.count("wrong")
    return outcomes.count("right") / answered if answered else 1.0
