"""Verification: static policy, generated tests, TRAIN replay; cheap before dear, and failing closed.

Tests share a process with the code they test, so they may only reject; only answers compared on the host promote.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import Replayed, ReplayReport, replay
from uhlp.evolution.classes import class_of
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.held_out import capped
from uhlp.evolution.measuring import Spending
from uhlp.evolution.reference import Dispute, MeasurementFailed, Reference
from uhlp.execution import Executor, HandlerImplementation, HandlerTests, TestReport, check_handler
from uhlp.optimization.proposer import Counterexample, Failures, Proposal
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.traffic.samples import Sample

_ASK_UP_LIMIT = 20
"""Mismatches of one draft that the reference is asked about; the rest count as wrong."""


@dataclass(slots=True)
class DraftReport:
    """What verification found in one draft of a handler; `stage` names the gate that stopped it, None if it passed.

    `missed_classes` are values of the decision field that the draft gave wrongly: the guard leaves them to the model.
    """

    code_sha: str
    stage: str | None = None
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    tests: TestReport | None = None
    train: ReplayReport | None = None
    wrong: list[Replayed] = field(default_factory=list)
    model_was_wrong: int = 0
    ambiguous: int = 0
    missed_classes: tuple[str, ...] = ()

    @property
    def has_passed(self) -> bool:
        return self.stage is None

    def failures(self) -> Failures:
        """What the proposer is shown for a repair: TRAIN only."""
        test_failures = [f"{failure.name}: {failure.message}" for failure in self.tests.failures] if self.tests else []
        if self.tests and not test_failures and self.stage == "tests":
            test_failures = [self.tests.report[-2000:]]
        if self.stage in ("coverage", "barred"):
            test_failures.append(self.reason)
        return Failures(
            test_failures=(*self.problems, *test_failures),
            counterexamples=tuple(
                Counterexample(input=one.input, expected=one.expected, got=one.got if one.is_answer else one.why)
                for one in sorted(self.wrong, key=lambda one: len(repr(one.input)))  # the smallest say most
            ),
        )


class Verifier:
    """Holds a draft against everything that is known before it may see traffic."""

    def __init__(
        self, *, executor: Executor, handler_tests: HandlerTests, reference: Reference, config: EvolutionConfig
    ) -> None:
        self._executor = executor
        self._tests = handler_tests
        self._reference = reference
        self._config = config

    async def examine(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        proposal: Proposal,
        train: Sequence[Sample],
        comparator: Comparator,
        *,
        epsilon: float,
        spending: Spending,
    ) -> DraftReport:
        """One draft through policy, tests and TRAIN replay; the first gate that stops it is named in the report.

        Raises MeasurementFailed, and Unavailable, when it could not be run: that says nothing about the draft.
        """
        report = DraftReport(code_sha=sha256(proposal.code.encode()).hexdigest())
        report.problems = check_handler(proposal.code)
        if report.problems:
            report.stage, report.reason = "policy", "; ".join(report.problems[:3])
            return report
        report.tests = await self._tests.run(app, component, proposal.code, proposal.tests)
        if report.tests.failed or report.tests.errors or not report.tests.passed:
            report.stage = "tests"
            failed = report.tests.failed + report.tests.errors
            report.reason = f"{failed} of {report.tests.total} generated tests fail" if failed else "no test was run"
            return report
        report.train = await replay(
            self._executor, app, component, handler_of(proposal.code), capped(train, self._config.duplicates_cap),
            comparator,
            timeout_s=self.handler_timeout_s(component), concurrency=self._config.verify.concurrency,
        )  # fmt: skip
        if report.train.refused > report.train.n:
            raise MeasurementFailed(f"TRAIN replay: no sandbox for {report.train.refused} of {len(train)} samples")
        await self._ask_up(app, component, report, comparator, spending)
        self._judge_train(component, report, epsilon)
        return report

    def still_wrong(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        cases: Sequence[Mapping[str, Any]],
        comparator: Comparator,
    ) -> list[Mapping[str, Any]]:
        """Regression cases by what is known now: a person's word may have corrected one, or shown that it was none."""
        remaining: list[Mapping[str, Any]] = []
        for case in cases:
            known = self._reference.known(app, component, case["inputHash"])
            if known is None:
                remaining.append(case)
            elif case["got"] is None or not comparator.equal(known.expected, case["got"]):
                remaining.append({**case, "expected": known.expected})
        return remaining

    def handler_timeout_s(self, component: ComponentSnapshot) -> float:
        """A handler's own deadline before its latency is known."""
        return component.definition.timeout_ms / 1000 / 4

    async def _ask_up(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        report: DraftReport,
        comparator: Comparator,
        spending: Spending,
    ) -> None:
        assert report.train is not None  # noqa: S101  examine has just set it
        asked = 0
        for one in report.train.mismatches:
            if not one.is_answer or asked >= _ASK_UP_LIMIT:
                report.wrong.append(one)
                continue
            asked += 1
            try:
                verdict = await self._reference.settle(
                    Dispute(
                        app=app, component=component, value=one.input, first=one.expected, got=one.got,
                        comparator=comparator, spending=spending, input_hash=one.input_hash,
                    )
                )  # fmt: skip
            except MeasurementFailed:  # on TRAIN the recorded answer will do: it steers the proposer, it proves nothing
                report.wrong.append(one)
                continue
            if verdict.outcome == "wrong":
                report.wrong.append(replace(one, expected=verdict.expected))
            elif verdict.outcome == "right":
                report.model_was_wrong += 1
            else:
                report.ambiguous += 1

    def _judge_train(self, component: ComponentSnapshot, report: DraftReport, epsilon: float) -> None:
        train = report.train
        assert train is not None  # noqa: S101  examine has just set it
        used, wrong = train.answered, report.wrong
        if component.definition.optimization.decision_field and len(wrong) > epsilon * (used + train.failed):
            used, wrong = self._beside_missed_classes(report, component.definition.optimization.decision_field)
        judged = used + train.failed
        if wrong and len(wrong) > epsilon * judged:
            example = wrong[0]
            report.stage = "train_replay"
            report.reason = (
                f"{len(wrong)} of {judged} answers on TRAIN are wrong, "
                f"for example {_short(example.input)}: expected {_short(example.expected)}, got "
                f"{_short(example.got) if example.is_answer else example.why}"
            )
        elif (coverage := used / train.n if train.n else 0.0) < self._config.verify.min_coverage:
            report.stage = "coverage"
            report.reason = (
                f"answers {coverage:.0%} of TRAIN itself, needs {self._config.verify.min_coverage:.0%} to pay"
            )
            if report.missed_classes:
                report.reason += f"; {', '.join(report.missed_classes[:5])} it gave wrongly"

    def _beside_missed_classes(self, report: DraftReport, field: str) -> tuple[int, list[Replayed]]:
        """(answers, wrong ones) that remain when the classes it gave wrongly are left to the model.

        Only a draft that would fail as a whole loses classes here; what TRAIN shows is no evidence for the others.
        """
        assert report.train is not None  # noqa: S101  examine has just set it
        missed = {class_of(one.got, field) for one in report.wrong if one.is_answer}
        report.missed_classes = tuple(sorted(missed))
        used = sum(one.is_answer and class_of(one.got, field) not in missed for one in report.train.results)
        return used, [one for one in report.wrong if not one.is_answer]


def handler_of(code: str) -> HandlerImplementation:
    """An implementation for code that has no version yet."""
    content = code.encode()
    digest = sha256(content).hexdigest()
    return HandlerImplementation(
        version=None, artifact=Artifact(sha256=digest, path=f"candidates/{digest[:12]}/handler.py", content=content),
        function="handle",
    )  # fmt: skip


def _short(value: object, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
