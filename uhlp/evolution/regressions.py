"""The regression set: inputs that earlier handlers of a component got wrong, and what the next one has to make of them.

TRAIN cases, made small by the minimiser, are shown to the proposer and become tests that its handler must pass.
HELD-OUT cases are shown to nobody: the host replays them. In the end the new handler is held against the last one (the
one in service where there is one) on all cases: it answers at least as many rightly, and of its answers at least the
same share is right; else it is refused. Leaving a case to the model is never wrong, it only is no right answer.

What the last handler left to the model on TRAIN are wishes, not tests: recorded samples, whose answers are known.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.endings import GOVERNOR
from uhlp.evolution.held_out import capped
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.minimiser import Minimiser
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.reference import Reference
from uhlp.evolution.regression_cases import Case, case_of, payload_of, row_of, smaller_case
from uhlp.evolution.regression_gate import Refusal, RegressionGate
from uhlp.evolution.regression_tests import regression_tests
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.tampering import TAMPERING
from uhlp.evolution.verification import handler_of, handler_timeout_s, replay_looking_first
from uhlp.execution import Executor, HandlerImplementation, check_handler
from uhlp.optimization.proposer import Counterexample, TrainSample
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import Sample

_CASES_HELD = 200
_TRAIN_REPLAYED = 300


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The handler that the next one is held against. `coverage` is its share of TRAIN (None when its code may not run),
    `deoptimised` what it left to the model there, `trained` the inputs (short hashes) that it was fitted to."""

    code: str
    coverage: float | None = None
    deoptimised: tuple[TrainSample, ...] = ()
    trained: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the next attempt learns from earlier ones, TRAIN side only: `shown` are hashes of the inputs in it."""

    previous: Predecessor | None = None
    counterexamples: tuple[Counterexample, ...] = ()
    tests: str | None = None
    shown: frozenset[str] = field(default_factory=frozenset)


class Regressions:
    """Reads and extends the regression set of a component and specification."""

    def __init__(
        self,
        *,
        book: CandidateBook,
        store: EvolutionStore,
        promotion: Promotion,
        executor: Executor,
        reference: Reference,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._store = store
        self._promotion = promotion
        self._executor = executor
        self._reference = reference
        self._config = config

    def minimiser(
        self,
        app: AppSnapshot,
        component: ComponentSnapshot,
        comparator: Comparator,
        train: Sequence[Sample],
        spending: Spending,
    ) -> Minimiser:
        """A minimiser with the budget of one attempt."""
        return Minimiser(
            app=app, component=component, comparator=comparator, train=train, executor=self._executor,
            reference=self._reference, spending=spending, config=self._config.now.minimising,
            timeout_s=handler_timeout_s(component),
        )  # fmt: skip

    async def lessons(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        comparator: Comparator,
        train: Sequence[Sample],
        minimiser: Minimiser,
    ) -> Lessons:
        """What `candidate`'s proposer and tests are told. Raises MeasurementFailed when the last handler cannot run."""
        cases = [one for one in await self._cases(candidate, app, component, comparator) if one.split == "train"]
        if not candidate.measurements.get("minimised"):
            redaction = Redaction(component.configuration.get("redact", ()))
            cases += await self._minimise(candidate, cases, minimiser, redaction)
        replaced = {one.minimised_from for one in cases}
        shown = [one for one in reversed(cases) if one.payload not in replaced]
        return Lessons(
            previous=await self._previous(candidate, app, component, comparator, train),
            counterexamples=tuple(one.as_counterexample for one in shown),
            tests=regression_tests(
                ((one.input, one.expected, one.is_certain) for one in shown),
                component.definition.optimization.comparator,
            ),
            shown=frozenset(one.input_hash for one in cases),
        )

    async def refusal(
        self,
        candidate: Candidate,
        code: str,
        app: AppSnapshot,
        component: ComponentSnapshot,
        comparator: Comparator,
        spending: Spending,
    ) -> Refusal | None:
        """Why `code` is worse than the last handler on the regression set; None when it is not, or nothing is known.

        Raises MeasurementFailed when one of them could not be run, or a disagreement could not be judged.
        """
        cases = await self._cases(candidate, app, component, comparator)
        last = self._last_of(candidate)
        kept = await self._promotion.code_of(last) if cases and last is not None else None
        if kept is None or check_handler(kept[0]):
            return None
        gate = RegressionGate(
            cases=cases[-_CASES_HELD:], executor=self._executor, reference=self._reference, app=app,
            component=component, comparator=comparator, spending=spending,
            concurrency=self._config.now.verify.concurrency,
        )  # fmt: skip
        return await gate.refusal(handler_of(code), handler_of(kept[0]))

    # -- the cases

    async def _cases(
        self, candidate: Candidate, app: AppSnapshot, component: ComponentSnapshot, comparator: Comparator
    ) -> list[Case]:
        """Oldest first, each input once; corrected by what persons have said since. Those of the handler in service are
        not in the store's set yet."""
        rows = await self._store.regressions(candidate.app_id, candidate.component_id, candidate.spec_hash)
        found = [(row.payload, row.split, row.candidate_id, row.case) for row in rows]
        serving = self._last_of(candidate)
        if serving is not None and serving.is_serving:
            found += [
                (one.payload, one.split, serving.id, await self._store.payload(one.payload, serving.app_id))
                for one in serving.mismatches
                if not one.overruled
            ]
        masked = Redaction(component.configuration.get("redact", ())).apply  # as the cases are
        by_input: dict[str, Case] = {}
        for payload, split, candidate_id, case in found:
            if case is None:  # it was deleted
                continue
            made = case_of(payload, split, candidate_id, case)
            known = self._reference.known(app, component, made.input_hash)
            if known is not None:
                expected = masked(known.expected)
                if made.got is not None and comparator.equal(expected, made.got):
                    continue  # it was right after all
                made = replace(made, expected=expected, is_certain=True)
            by_input.pop(made.input_hash, None)
            by_input[made.input_hash] = made
        return list(by_input.values())

    async def _minimise(
        self, candidate: Candidate, cases: Sequence[Case], minimiser: Minimiser, redaction: Redaction
    ) -> list[Case]:
        """Smaller forms of the newest cases that have none; they join the set, so that nobody pays for them again."""
        have = {one.minimised_from for one in cases}
        made: list[Case] = []
        for case in reversed(cases):
            if not minimiser.inputs_left:
                break
            if case.minimised_from is not None or case.payload in have:
                continue
            handler = await self._handler_of(case.candidate_id)
            smaller = await minimiser.minimise(handler, case.input, case.expected) if handler is not None else None
            if smaller is not None:
                made.append(smaller_case(case, smaller, redaction))
        self._book.grow(
            candidate.id,
            payloads={one.payload: payload_of(one) for one in made},
            measurements={**self._book.candidate(candidate.id).measurements, "minimised": True},
        )
        if made:
            rows = [row_of(one, candidate, self._book.now()) for one in made]
            reason = f"made {len(made)} counterexample{'s' if len(made) > 1 else ''} of earlier attempts smaller"
            await self._book.decide(candidate.id, actor=GOVERNOR, reason=reason, regressions=rows)
        return made

    # -- the last handler

    def _last_of(self, candidate: Candidate) -> Candidate | None:
        """The handler in service; without one, the newest attempt that had code."""
        earlier = [
            one
            for one in self._book.candidates(candidate.app_id, candidate.component_id)
            if one.spec_hash == candidate.spec_hash
            and one.code_sha is not None
            and one.id != candidate.id
            and one.cause != TAMPERING
        ]
        return next((one for one in earlier if one.is_serving), earlier[0] if earlier else None)

    async def _handler_of(self, candidate_id: str) -> HandlerImplementation | None:
        kept = await self._promotion.code_of(self._book.candidate(candidate_id))
        return None if kept is None or check_handler(kept[0]) else handler_of(kept[0])

    async def _previous(
        self,
        candidate: Candidate,
        app: AppSnapshot,
        component: ComponentSnapshot,
        comparator: Comparator,
        train: Sequence[Sample],
    ) -> Predecessor | None:
        last = self._last_of(candidate)
        kept = await self._promotion.code_of(last) if last is not None else None
        if last is None or kept is None:
            return None
        trained = frozenset(kept[2].get("trained", ()))
        if check_handler(kept[0]):
            return Predecessor(kept[0], trained=trained)
        report = await replay_looking_first(
            self._executor, app, component, handler_of(kept[0]), capped(train, 1)[:_TRAIN_REPLAYED], comparator,
            concurrency=self._config.now.verify.concurrency,
        )  # fmt: skip
        if report.refused > report.n:
            raise MeasurementFailed(f"the last handler: no sandbox for {report.refused} samples")
        deoptimised = (TrainSample(one.input, one.expected) for one in report.results if one.outcome == "deoptimised")
        return Predecessor(kept[0], report.coverage, tuple(deoptimised), trained)
