"""Synthesis: from discovered to verified. A proposer writes a handler, which is examined before it may be replayed.

Whatever ends a candidate here, its wrong answers to known inputs are kept for people and for the next attempt.
"""

from collections.abc import Container, Sequence

from uhlp.evals.replay import Replayed
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.compilability import Compilability
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.drafting import Drafting
from uhlp.evolution.governor import GOVERNOR, SafetyGovernor
from uhlp.evolution.live_evidence import short_hashes
from uhlp.evolution.measuring import Spending
from uhlp.evolution.observation import comparator_of
from uhlp.evolution.promotion import Promotion
from uhlp.evolution.recordings import Recordings
from uhlp.evolution.records import digest_of
from uhlp.evolution.reference import MeasurementFailed, Reference, ReferenceKind
from uhlp.evolution.regressions import Regressions
from uhlp.evolution.tampering import TAMPERING, tampered
from uhlp.evolution.verification import DraftReport, Verifier
from uhlp.optimization.proposer import Counterexample, Proposal, ProposalFailed

S = CandidateState
_WRONG_KEPT = 12
_REPORT_CHARS = 8_000


class Synthesis:
    """`synthesize` goes from the start, `verify` takes up a draft that a restart interrupted. Both return the candidate
    where it stands, and raise MeasurementFailed and Unavailable when something could not be measured now.
    """

    def __init__(
        self,
        *,
        book: CandidateBook,
        governor: SafetyGovernor,
        drafting: Drafting,
        verifier: Verifier,
        promotion: Promotion,
        reference: Reference,
        regressions: Regressions,
        recordings: Recordings,
        config: ConfigInForce,
    ) -> None:
        self._book = book
        self._governor = governor
        self._drafting = drafting
        self._verifier = verifier
        self._promotion = promotion
        self._regressions = regressions
        self._recordings = recordings
        self._config = config
        self._compilability = Compilability(book=book, reference=reference, verifier=verifier, config=config)

    async def synthesize(self, candidate: Candidate) -> Candidate:
        """To synthesized and verified, or to an end; a candidate that waits for something stays discovered."""
        if candidate.approval_required and candidate.approved_by is None:
            return candidate
        app, component = self._recordings.place(candidate)
        comparator = comparator_of(component)
        train = await self._recordings.answers(candidate, "train")
        if len(train) < self._config.now.verify.min_train:
            return candidate
        spending = Spending(candidate.costs)
        try:
            refusal = await self._compilability.why_not(candidate, app, component, comparator, train, spending)
            if refusal is not None:
                cause, reason = refusal
                return await self._governor.reject(candidate.id, cause=cause, reason=reason)
            minimiser = self._regressions.minimiser(app, component, comparator, train, spending)
            lessons = await self._regressions.lessons(candidate, app, component, comparator, train, minimiser)
            drafted = await self._drafting.draft(
                candidate, app, component, train, comparator, lessons=lessons, minimiser=minimiser, spending=spending
            )
        except ProposalFailed as failure:
            if failure.retryable:
                raise MeasurementFailed(failure.reason) from failure
            return await self._governor.reject(candidate.id, cause="proposal", reason=failure.reason)
        finally:
            self._book.grow(candidate.id, costs=spending.costs)
        proposal, report, drafts = drafted.proposal, drafted.report, drafted.drafts
        in_service = self._book.in_service(candidate.app_id, candidate.component_id)
        if in_service is not None and report.code_sha == in_service.code_sha:
            reason = f"{proposal.proposer} wrote the code that is in service as v{in_service.version}"
            return await self._governor.reject(candidate.id, cause="no_better", reason=reason)
        inherited = lessons.previous.trained if lessons.previous is not None else frozenset[str]()
        trained = sorted(
            short_hashes([*drafted.shown]) | inherited
        )  # it was shown the last handler, and what that knew
        record = {
            "proposer": proposal.proposer,
            "guard": proposal.guard,
            "notes": proposal.notes,
            "tokensIn": proposal.tokens_in,
            "tokensOut": proposal.tokens_out,
            "costUsd": proposal.cost_usd,
            "trained": trained,
            "counterexamples": [_as_json(example) for example in drafted.counterexamples],
            "noise": self._book.candidate(candidate.id).measurements.get("noise"),
            "testReport": report.tests.report[:_REPORT_CHARS] if report.tests else None,
        }
        await self._promotion.keep_code(candidate, code=proposal.code, tests=proposal.tests, record=record)
        candidate = await self._book.decide(
            candidate.id, S.SYNTHESIZED, actor=GOVERNOR,
            reason=f"{proposal.proposer} wrote a handler in {len(drafts)} draft{'s' if len(drafts) > 1 else ''}: "
            f"{proposal.guard or 'no guard stated'}",
            code_sha=report.code_sha, drafts=drafts, proposer=proposal.proposer,
            trained_digest=digest_of(trained),
        )  # fmt: skip
        return await self._judge_draft(candidate, proposal.code, report)

    async def verify(self, candidate: Candidate) -> Candidate:
        """After a restart: examine the kept draft again."""
        app, component = self._recordings.place(candidate)
        kept = await self._promotion.code_of(candidate)
        if kept is None:
            return await self._governor.reject(
                candidate.id, cause="lost", reason="its code is no longer in the repository"
            )
        code, tests, record = kept
        proposal = Proposal(code=code, tests=tests, guard=str(record.get("guard", "")), proposer=candidate.proposer)
        train = await self._recordings.answers(candidate, "train")
        comparator, spending = comparator_of(component), Spending(candidate.costs)
        try:
            minimiser = self._regressions.minimiser(app, component, comparator, train, spending)
            lessons = await self._regressions.lessons(candidate, app, component, comparator, train, minimiser)
            report = await self._verifier.examine(
                app, component, proposal, train, comparator,
                epsilon=component.definition.optimization.epsilon, spending=spending, regression_tests=lessons.tests,
            )  # fmt: skip
        finally:  # what was asked has been paid, whatever comes of it
            self._book.grow(candidate.id, costs=spending.costs)
        return await self._judge_draft(candidate, code, report)

    async def _judge_draft(self, candidate: Candidate, code: str, report: DraftReport) -> Candidate:
        if report.tampering:
            return await self._governor.quarantine(candidate.id, cause=TAMPERING, reason=tampered(report.tampering))
        if report.stage is not None:
            self._keep_wrong(candidate.id, report.smallest_wrong(), report.upheld)
            return await self._governor.reject(candidate.id, cause=report.stage, reason=report.reason)
        app, component = self._recordings.place(candidate)
        spending = Spending(self._book.candidate(candidate.id).costs)
        try:
            worse = await self._regressions.refusal(candidate, code, app, component, comparator_of(component), spending)
        finally:
            self._book.grow(candidate.id, costs=spending.costs)
        if worse is not None:
            self._keep_wrong(candidate.id, worse.wrong, worse.upheld)
            return await self._governor.reject(candidate.id, cause="regression", reason=worse.reason)
        assert report.train is not None  # noqa: S101  a passed draft has both
        assert report.tests is not None  # noqa: S101
        return await self._book.decide(
            candidate.id, S.VERIFIED, actor=GOVERNOR,
            reason=f"{report.tests.passed} tests pass; of the calls it learnt from (TRAIN) it answers "
            f"{report.train.coverage:.0%}, {len(report.wrong)} of {report.train.answered} wrongly",
            evidence={"trainCoverage": report.train.coverage, "trainWrong": len(report.wrong)},
            measurements={**self._book.candidate(candidate.id).measurements, "trainCoverage": report.train.coverage},
        )  # fmt: skip

    def _keep_wrong(self, candidate_id: str, wrong: Sequence[Replayed], upheld: Container[str]) -> None:
        """Keep wrong answers to known inputs for people, and for the next attempt; upheld ones first."""
        for one in sorted(wrong, key=lambda one: one.input_hash not in upheld)[:_WRONG_KEPT]:
            reference: ReferenceKind = "majority" if one.input_hash in upheld else "single"
            self._governor.keep_mismatch(
                candidate_id,
                Comparison(
                    "replay", one.input_hash, one.input, "wrong", reference, one.expected, one.got, one.why,
                    has_answered=one.is_answer,
                ),
            )  # fmt: skip


def _as_json(example: Counterexample) -> dict[str, object]:
    return {"input": example.input, "expected": example.expected, "got": example.got}
