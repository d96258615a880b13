"""Verification: signs of tampering, static policy, generated tests, regression tests, TRAIN replay; cheap before dear,
and failing closed.

Tests share a process with the code they test, so they may only reject; only answers compared on the host promote.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import Replayed, ReplayReport, replay
from uhlp.evolution.classes import class_of
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.held_out import capped
from uhlp.evolution.measuring import Spending
from uhlp.evolution.reference import Dispute, MeasurementFailed, Reference
from uhlp.evolution.tampering import forbidden_calls
from uhlp.execution import (
    Executor,
    HandlerImplementation,
    HandlerTests,
    TestReport,
    check_handler,
    count_tests,
    signs_of_tampering,
)
from uhlp.optimization.proposer import Counterexample, Failures, Proposal
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.traffic.samples import Sample

_ASK_UP_LIMIT = 20
"""Mismatches of one draft that the reference is asked about; the rest count as wrong."""
_FIRST_LOOK = 20
"""TRAIN samples that show whether a draft runs at all: one that fails or hangs on half of them runs on no more."""


@dataclass(slots=True)
class DraftReport:
    """What verification found in one draft of a handler; `stage` names the gate that stopped it, None if it passed.

    `missed_classes` are values of the decision field that the draft gave wrongly: the guard leaves them to the model.
    `upheld` are hashes of wrong answers' inputs where the reference was asked; `unasked` of the wrong ones are so
    because it could not be. `tampering` says how it tried to deceive its evaluation; that ends the candidate, not only
    the draft.
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
    tampering: list[str] = field(default_factory=list)
    upheld: set[str] = field(default_factory=set)
    unasked: int = 0

    @property
    def has_passed(self) -> bool:
        return self.stage is None

    def failures(self, masked: Callable[[Any], Any] = lambda value: value) -> Failures:
        """What the proposer is shown for a repair: TRAIN only, and only as `masked` leaves it."""
        test_failures = [f"{failure.name}: {failure.message}" for failure in self.tests.failures] if self.tests else []
        if self.tests and not test_failures and self.stage == "tests":
            test_failures = [self.tests.report[-2000:]]
        if self.stage in ("coverage", "barred"):
            test_failures.append(self.reason)
        return Failures(
            test_failures=tuple(masked(text) for text in (*self.problems, *test_failures)),
            counterexamples=tuple(
                Counterexample(
                    input=masked(one.input), expected=masked(one.expected),
                    got=masked(one.got if one.is_answer else one.why),
                )
                for one in self.smallest_wrong()
            ),
        )  # fmt: skip

    def smallest_wrong(self) -> list[Replayed]:
        """What it got wrong on TRAIN, the smallest inputs first: they say most."""
        return sorted(self.wrong, key=lambda one: len(repr(one.input)))

    def stop(self, stage: str, reason: str) -> "DraftReport":
        """This report, of a draft that a gate stopped."""
        self.stage, self.reason = stage, reason
        return self


class Verifier:
    """Holds a draft against everything that is known before it may see traffic."""

    def __init__(
        self, *, executor: Executor, handler_tests: HandlerTests, reference: Reference, config: ConfigInForce
    ) -> None:
        self._executor = executor
        self._tests = handler_tests
        self._reference = reference
        self._config = config

    async def can_examine(self, app: AppSnapshot, component: ComponentSnapshot) -> bool:
        """Whether drafts, which are Python, run in the component's pool. Raises Unavailable: not to be known now."""
        return await self._tests.can_run(app, component)

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
        regression_tests: str | None = None,
    ) -> DraftReport:
        """One draft through every gate; the first one that stops it is named in the report.

        Raises MeasurementFailed, and Unavailable, when it could not be run: that says nothing about the draft.
        """
        report = DraftReport(code_sha=sha256(proposal.code.encode()).hexdigest())
        report.tampering = await asyncio.to_thread(signs_of_tampering, proposal.code, proposal.tests)
        if report.tampering:
            return report.stop("tampering", "; ".join(report.tampering[:3]))
        report.problems = await asyncio.to_thread(check_handler, proposal.code)
        if report.problems:
            return report.stop("policy", "; ".join(report.problems[:3]))
        if (stopped := await self._run_tests(app, component, proposal, regression_tests, report)) is not None:
            return stopped
        samples = capped(train, self._config.now.duplicates_cap)
        report.train = await replay_looking_first(
            self._executor, app, component, handler_of(proposal.code), samples, comparator,
            concurrency=self._config.now.verify.concurrency,
        )  # fmt: skip
        if report.train.refused > report.train.n:
            raise MeasurementFailed(f"TRAIN replay: no sandbox for {report.train.refused} of {len(train)} samples")
        report.tampering = forbidden_calls(report.train)
        if report.tampering:
            return report.stop("tampering", report.tampering[0])
        if report.train.unrecorded and report.train.n < self._config.now.verify.min_train:
            tools = next(one.why for one in report.train.results if one.outcome == "unrecorded")
            return report.stop(
                "effects",
                f"it calls {tools} on {report.train.unrecorded} of {len(report.train.results)} recorded inputs; what "
                "tools answered is not recorded, so too little can be shown of it before it acts",
            )
        await self._ask_up(app, component, report, comparator, spending)
        self._judge_train(component, report, epsilon)
        return report

    async def _run_tests(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        proposal: Proposal,
        regression_tests: str | None,
        report: DraftReport,
    ) -> DraftReport | None:
        """The proposer's tests, then those that earlier failures became; the report when one of them fails."""
        tests = report.tests = await self._tests.run(app, component, proposal.code, proposal.tests)
        failed = tests.failed + tests.errors
        if tests.is_forged:
            report.tampering = ["the report of its tests is none that pytest writes"]
            return report.stop("tampering", report.tampering[0])
        if failed or not tests.passed:
            return report.stop(
                "tests", f"{failed} of {tests.total} generated tests fail" if failed else "no test was run"
            )
        if (defined := count_tests(proposal.tests)) > tests.total:
            return report.stop("tests", f"{defined} tests are written, the report knows of {tests.total}")
        if regression_tests is None:
            return None
        again = await self._tests.run(app, component, proposal.code, regression_tests)
        if again.failed or again.errors or not again.passed:
            report.tests = again
            failed = again.failed + again.errors
            return report.stop(
                "regression", f"{failed} of {again.total} inputs that earlier handlers got wrong, still are"
            )
        return None

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
            except MeasurementFailed:  # on TRAIN the recorded answer will do, as long as it ends nothing
                report.wrong.append(one)
                report.unasked += 1
                continue
            if verdict.outcome == "wrong":
                report.wrong.append(replace(one, expected=verdict.expected))
                report.upheld.add(one.input_hash)
            elif verdict.outcome == "right":
                report.model_was_wrong += 1
            else:
                report.ambiguous += 1

    def _judge_train(self, component: ComponentSnapshot, report: DraftReport, epsilon: float) -> None:
        train = report.train
        assert train is not None  # noqa: S101  examine has just set it
        used, wrong = train.answered, report.wrong
        if len(wrong) > epsilon * (used + train.failed) >= len(wrong) - report.unasked:
            raise MeasurementFailed(f"TRAIN replay: {report.unasked} differences could not be judged")
        if component.definition.optimization.decision_field and len(wrong) > epsilon * (used + train.failed):
            used, wrong = self._beside_missed_classes(report, component.definition.optimization.decision_field)
        judged = used + train.failed
        if wrong and len(wrong) > epsilon * judged:
            report.stage = "train_replay"
            report.reason = (
                f"{len(wrong)} of {judged} answers to the calls it learnt from (TRAIN) are wrong, the first in "
                f"{_described(wrong[0])}"
            )
        elif (coverage := used / train.n if train.n else 0.0) < self._config.now.verify.min_coverage:
            report.stage = "coverage"
            report.reason = (
                f"answers {coverage:.0%} of TRAIN itself, needs {self._config.now.verify.min_coverage:.0%} to pay"
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


async def replay_looking_first(
    executor: Executor,
    app: AppSnapshot,
    component: ComponentSnapshot,
    handler: HandlerImplementation,
    samples: Sequence[Sample],
    comparator: Comparator,
    *,
    concurrency: int,
) -> ReplayReport:
    """Replay that gives up on a handler which fails or hangs on half of the first samples."""
    results: list[Replayed] = []
    for part in (samples[:_FIRST_LOOK], samples[_FIRST_LOOK:]):
        report = await replay(
            executor, app, component, handler, part, comparator,
            timeout_s=handler_timeout_s(component), concurrency=concurrency,
        )  # fmt: skip
        results += report.results
        if 2 * report.failed >= len(part):
            break
    return ReplayReport(tuple(results))


def handler_of(code: str) -> HandlerImplementation:
    """An implementation for code that has no version yet."""
    content = code.encode()
    digest = sha256(content).hexdigest()
    return HandlerImplementation(
        version=None, artifact=Artifact(sha256=digest, path=f"candidates/{digest[:12]}/handler.py", content=content),
        function="handle",
    )  # fmt: skip


def handler_timeout_s(component: ComponentSnapshot) -> float:
    """A handler's own deadline before its latency is known."""
    return component.definition.timeout_ms / 1000 / 4


def _described(one: Replayed) -> str:
    """How an answer is wrong, without the values: reasons are kept for good, and recordings must stay deletable."""
    if not one.is_answer:
        return f"that it fails ({one.why.partition(':')[0]})"
    places = dict.fromkeys(line.partition(":")[0] for line in one.why.split("; "))
    return f"{', '.join(list(places)[:5]) or 'the answer'} (its mismatches show the values)"
