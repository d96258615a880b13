"""The property test can fail: each of these broken machines is found out, within so many examples of a fixed seed.

A mutant passes one part that breaks one promise. Nothing is patched: it is a subclass, or another configuration.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.unit.evolution.evolution_machine import WIDE, EvolutionMachine, FailingWorld
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.records import Change
from uhlp.evolution.rollouts import Rollouts
from uhlp.evolution.statistics import EvidenceAccount, Verdict
from uhlp.execution import HandlerImplementation
from uhlp.traffic.samples import Sample, SampleStore

EXAMPLES, STEPS, SEED = 150, 30, 1


class FickleAccount(EvidenceAccount):
    """Judges anew with every comparison."""

    def observe(self, loss: float) -> Verdict:
        self.verdict = Verdict.HOLD
        return super().observe(loss)


class BelievesTheLastWord(SafetyGovernor):
    def admit(self, candidate: Candidate, handler: HandlerImplementation, evidence: LiveEvidence) -> None:
        evidence.account = FickleAccount.from_dict(evidence.account.to_dict())
        super().admit(candidate, handler, evidence)


class RemembersBeforeItWrites(CandidateBook):
    async def _write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.candidate is not None:
                self._candidates[change.candidate.id] = change.candidate
        await super()._write(changes)


class ForgetsWrongAnswersInACrash(CandidateBook):
    async def save(self, candidate_id: str | None = None) -> None:
        if candidate_id is None:
            await super().save()


class HearsNoAlarmWhilePaused(SafetyGovernor):
    async def evaluate_candidate(self, candidate_id: str) -> None:
        candidate = self._book.candidate(candidate_id)
        if not (candidate.paused or self._holds.what_holds(candidate) == "paused"):
            await super().evaluate_candidate(candidate_id)


class TakesSilenceForAgreement(SafetyGovernor):
    async def record_measuring_error(self, candidate_id: str, why: str) -> None:
        await super().record_measuring_error(candidate_id, why)
        if (live := self.evidence_of(candidate_id)) is not None:
            live.account.observe(0.0)


class TakesSilenceForAnError(SafetyGovernor):
    async def record_measuring_error(self, candidate_id: str, why: str) -> None:
        await super().record_measuring_error(candidate_id, why)
        if (live := self.evidence_of(candidate_id)) is not None:
            live.account.observe(1.0)


class NeverTiresOfMeasuring(SafetyGovernor):
    async def record_measuring_error(self, candidate_id: str, why: str) -> None:
        if (live := self.evidence_of(candidate_id)) is not None:
            live.unanswered += 1
            live.measuring_errors += 1


class RollsBackWhereNobodyAnswers(SafetyGovernor):
    async def record_measuring_error(self, candidate_id: str, why: str) -> None:
        await super().record_measuring_error(candidate_id, why)
        if self.unanswered_checks(candidate_id) > 4 and self._book.candidate(candidate_id).is_serving:
            await self.roll_back(candidate_id, cause="silence", reason="nobody can say whether it is right")


class CountsWhatTheCoderSaw(SafetyGovernor):
    def admit(self, candidate: Candidate, handler: HandlerImplementation, evidence: LiveEvidence) -> None:
        evidence.trained = frozenset()
        super().admit(candidate, handler, evidence)


class NeverLetsGo(Rollouts):
    def remove(self, app_id: str, component_id: str, candidate_id: str) -> None:
        pass


class BarsNothing(Rollouts):
    def bar(self, app_id: str, code_sha: str) -> None:
        pass


class ShowsEverything(SampleStore):
    """To whoever asks for one side of the split."""

    async def samples(self, *arguments: Any, **wanted: Any) -> list[Sample]:
        return await super().samples(*arguments, **{**wanted, "split": None})


class DecidesWithoutTheLease(FailingWorld):
    def token(self) -> int | None:
        return None


def with_parts(**parts: Any) -> type[FailingWorld]:
    """A world with other parts."""
    return type("MutantWorld", (FailingWorld,), {f"make_{name}": made for name, made in parts.items()})


def with_numbers(**changes: Any) -> EvolutionConfig:
    """Numbers that are not those it is held to."""
    return WIDE.with_overrides(changes)


MUTANTS: dict[str, dict[str, Any]] = {
    "verdict is not sticky": {"make_world": with_parts(governor=BelievesTheLastWord)},
    "memory before ledger": {"make_world": with_parts(book=RemembersBeforeItWrites)},
    "a crash costs wrong answers": {"make_world": with_parts(book=ForgetsWrongAnswersInACrash)},
    "no alarm while paused": {"make_world": with_parts(governor=HearsNoAlarmWhilePaused)},
    "silence is agreement": {"make_world": with_parts(governor=TakesSilenceForAgreement)},
    "silence is an error": {"make_world": with_parts(governor=TakesSilenceForAnError)},
    "errors of measuring have no budget": {"make_world": with_parts(governor=NeverTiresOfMeasuring)},
    "rolls back to a model that is down": {"make_world": with_parts(governor=RollsBackWhereNobodyAnswers)},
    "what the coder saw is evidence": {"make_world": with_parts(governor=CountsWhatTheCoderSaw)},
    "what is over goes on": {"make_world": with_parts(rollouts=NeverLetsGo)},
    "refused code is not barred": {"make_world": with_parts(rollouts=BarsNothing)},
    "held-out samples are shown": {"make_world": with_parts(samples=ShowsEverything)},
    "decides without the lease": {"make_world": DecidesWithoutTheLease},
    "an input counts as often as it comes": {"config": with_numbers(duplicates_cap=1000)},
    "two canaries at once": {"config": with_numbers(limits={"canaries_per_application": 2})},
    "rollbacks freeze nothing": {"config": with_numbers(freeze_rollbacks_per_hour=1000)},
    "steps without time": {"config": with_numbers(canary={"min_step_s": 0})},
    "another error level": {"config": with_numbers(delta=0.2)},
}


def play(machine: type[EvolutionMachine]) -> None:
    """Until something does not hold, which raises AssertionError, or the examples are over."""
    run_state_machine_as_test(
        seed(SEED)(machine),
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, database=None, print_blob=False,
            phases=[Phase.generate], report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_promise_is_found(name: str) -> None:
    with pytest.raises(AssertionError):
        play(type("Mutant", (EvolutionMachine,), MUTANTS[name]))
