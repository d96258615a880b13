"""Verification: static policy, generated tests, TRAIN replay; cheap before dear, and failing closed.

Tests share a process with the code they test, so they may only reject; only answers compared on the host promote.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import Replayed, ReplayReport, replay
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.reference import MeasurementFailed, Reference
from uhlp.execution import Executor, HandlerImplementation, HandlerTests, TestReport, check_handler
from uhlp.optimization.proposer import Counterexample, Failures, Proposal
from uhlp.registry.snapshot import AppSnapshot, Artifact, ComponentSnapshot
from uhlp.traffic.samples import Sample

_ASK_UP_LIMIT = 20
"""Mismatches of one draft that the reference is asked about; the rest count as wrong."""


@dataclass(slots=True)
class DraftReport:
    """What verification found in one draft of a handler; `stage` names the gate that stopped it, None if it passed."""

    code_sha: str
    stage: str | None = None
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    tests: TestReport | None = None
    train: ReplayReport | None = None
    wrong: list[Replayed] = field(default_factory=list)
    model_was_wrong: int = 0
    ambiguous: int = 0

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
            self._executor, app, component, handler_of(proposal.code), train, comparator,
            timeout_s=self.handler_timeout_s(component), concurrency=self._config.verify.concurrency,
        )  # fmt: skip
        if report.train.refused > report.train.n:
            raise MeasurementFailed(f"TRAIN replay: no sandbox for {report.train.refused} of {len(train)} samples")
        await self._ask_up(app, component, report, comparator)
        self._judge_train(component, report, epsilon)
        return report

    def handler_timeout_s(self, component: ComponentSnapshot) -> float:
        """A handler's own deadline before its latency is known."""
        return component.definition.timeout_ms / 1000 / 4

    async def _ask_up(
        self, app: AppSnapshot, component: ComponentSnapshot, report: DraftReport, comparator: Comparator
    ) -> None:
        assert report.train is not None  # noqa: S101  examine has just set it
        asked = 0
        for one in report.train.mismatches:
            if not one.is_answer or asked >= _ASK_UP_LIMIT:
                report.wrong.append(one)
                continue
            asked += 1
            try:
                verdict = await self._reference.judge(
                    app, component, one.input, first=one.expected, got=one.got, comparator=comparator
                )
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
        judged = train.answered + train.failed
        if report.wrong and len(report.wrong) > epsilon * judged:
            example = report.wrong[0]
            report.stage = "train_replay"
            report.reason = (
                f"{len(report.wrong)} of {judged} answers on TRAIN are wrong, "
                f"for example {_short(example.input)}: expected {_short(example.expected)}, got "
                f"{_short(example.got) if example.is_answer else example.why}"
            )
        elif train.coverage < self._config.verify.min_coverage:
            report.stage = "coverage"
            report.reason = (
                f"answers {train.coverage:.0%} of TRAIN itself, needs {self._config.verify.min_coverage:.0%} to pay"
            )


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
