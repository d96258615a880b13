"""Adjudicator: a person says what is right for an input, and what follows from it.

From then on that word is the reference for the input, everywhere. What was measured before is treated like this:

open question, handler wrong    the comparison is entered now: figures, account, alarms, counterexample
open question, handler right    shown in the figures; no evidence (see `LiveEvidence.settle_question`)
lost comparison, handler right  figures corrected, no counterexample any more; the account keeps the loss, and a class
                                that was taken out for it comes back as any other: evidence is never given back
lost comparison, handler wrong  its counterexample carries the person's answer
anything else                   nothing was lost or open: only the future changes
"""

from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from uhlp import strict_json
from uhlp.clock import Clock
from uhlp.errors import ComponentNotFound, NotFound, SampleNotFound, ValidationFailed
from uhlp.evals.comparator import Comparator
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.observation import comparator_of
from uhlp.evolution.store import EvolutionStore
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.traffic.adjudications import Adjudication, Question
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import SampleStore
from uhlp.traffic.split import input_hash

_CANDIDATES_CORRECTED = 3
"""The newest of a component; older ones are history."""


class Adjudicator:
    """One instance a server; every word lands in the ledger of the candidates it is about."""

    def __init__(
        self,
        *,
        samples: SampleStore,
        book: CandidateBook,
        store: EvolutionStore,
        governor: SafetyGovernor,
        app_registry: ApplicationRegistry,
        clock: Clock,
    ) -> None:
        self._samples = samples
        self._adjudications = samples.adjudications
        self._book = book
        self._store = store
        self._governor = governor
        self._registry = app_registry
        self._clock = clock

    def listing(self, app_id: str, component_id: str) -> dict[str, Any]:
        """{questions, adjudications}, newest first: what waits for a person, and what persons have said."""
        self._component(app_id, component_id)
        return {
            "questions": [asdict(one) for one in self._adjudications.questions(app_id, component_id)],
            "adjudications": [asdict(one) for one in self._adjudications.all_of(app_id, component_id)],
        }

    async def adjudicate_sample(
        self, app_id: str, sample_id: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]:
        """`expected` is right for this sample's input. Raises SampleNotFound, ValidationFailed."""
        self._registry.snapshot(app_id)
        sample = await self._samples.sample(app_id, sample_id)
        if sample is None:
            raise SampleNotFound(f"{app_id} keeps no sample {sample_id!r}; it may have rolled over.")
        seen = [sample.output] if sample.ok else []
        return await self._decide(
            app_id, sample.component_id, sample.input_hash, sample.input, seen, expected, actor, reason
        )

    async def adjudicate_input(
        self, app_id: str, component_id: str, hashed: str, *, expected: Any, actor: str, reason: str
    ) -> dict[str, Any]:
        """`expected` is right for the input of this hash: of an open question, a mismatch or an earlier adjudication.

        Raises NotFound when nothing is known of such an input.
        """
        self._component(app_id, component_id)
        earlier = self._adjudications.of(app_id, component_id, hashed)
        question = self._adjudications.question(app_id, component_id, hashed)
        lost = await self._lost(app_id, component_id, hashed)
        if earlier is not None:
            value = earlier.input
        elif question is not None:
            value = question.input
        elif lost:
            value = lost[0][2]["input"]
        else:
            raise NotFound(f"Nothing is open about an input {hashed[:16]}…; adjudicate a sample instead.")
        return await self._decide(app_id, component_id, hashed, value, [], expected, actor, reason)

    async def _decide(
        self, app_id: str, component_id: str, hashed: str, value: Any, seen: list[Any], expected: Any, actor: str,
        reason: str,
    ) -> dict[str, Any]:  # fmt: skip
        component = self._component(app_id, component_id)
        _check(component, expected)
        comparator = comparator_of(component)
        redaction = Redaction(component.configuration.get("redact", ()))
        question = self._adjudications.question(app_id, component_id, hashed)
        lost = await self._lost(app_id, component_id, hashed)
        seen = [*seen, *([question.got, *question.answers] if question else [])]
        seen += [answer for *_, case in lost for answer in (case["got"], case["expected"])]
        comparable = redaction.apply(expected)
        said = Adjudication(
            app_id, component_id, hashed, redaction.apply(value), expected, _rejected(seen, comparable, comparator),
            actor, reason, self._clock.now(),
        )  # fmt: skip
        await self._adjudications.adjudicate(said)
        effects = []
        if question is not None:
            effects += await self._settle(question, said, comparable, comparator)
        for candidate_id, payload, case in lost:
            effects += await self._correct(candidate_id, payload, case, said, comparable, comparator)
        golden = any(input_hash(one.input) == hashed for one in component.golden)
        return {
            "appId": app_id,
            "componentId": component_id,
            "inputHash": hashed,
            "split": said.split,
            "expected": expected,
            "standsBelowGolden": golden,
            "effects": effects,
        }

    async def _settle(
        self, question: Question, said: Adjudication, expected: Any, comparator: Comparator
    ) -> list[dict[str, str]]:
        candidate_id = question.candidate_id
        live = self._governor.evidence_of(candidate_id)
        if live is None or comparator.differ_in_text_alone(expected, question.got):
            return []
        was_right = comparator.equal(expected, question.got)
        live.settle_question(was_right=was_right)
        self._book.grow(candidate_id, figures=live.figures)
        words = f"the handler was {'right: shown, no evidence' if was_right else 'wrong: entered as a loss'}"
        await self._note(candidate_id, said, words)
        if not was_right:
            comparison = Comparison(
                question.stage, said.input_hash, question.input, "wrong", "human", said.expected, question.got,  # type: ignore[arg-type]
                "; ".join(comparator.differences(expected, question.got)),
            )  # fmt: skip
            await self._governor.record(candidate_id, comparison)
        return [{"candidateId": candidate_id, "effect": words}]

    async def _correct(
        self, candidate_id: str, payload: str, case: dict[str, Any], said: Adjudication, expected: Any,
        comparator: Comparator,
    ) -> list[dict[str, str]]:  # fmt: skip
        has_answered = case["got"] is not None  # a failure has no answer that could be right
        if not has_answered or not comparator.equal(expected, case["got"]):
            words = "the handler was wrong: its counterexample carries this answer"
            return [{"candidateId": candidate_id, "effect": words}]
        candidate = await self._book.whole(candidate_id)
        mismatches = list(candidate.mismatches)  # as they are now: others may have come and pushed some out
        place = next((at for at, one in enumerate(mismatches) if one.payload == payload and not one.overruled), None)
        if place is None:
            return []
        live = self._governor.evidence_of(candidate_id)
        if live is not None:
            live.overrule()
        figures = live.figures if live is not None else candidate.figures.after_overruling()
        mismatches[place] = replace(mismatches[place], overruled=True)
        self._book.grow(candidate_id, figures=figures, mismatches=tuple(mismatches))
        words = "the handler was right: figures corrected, no counterexample; the evidence keeps its loss"
        await self._note(candidate_id, said, words)
        return [{"candidateId": candidate_id, "effect": words}]

    async def _note(self, candidate_id: str, said: Adjudication, words: str) -> None:
        reason = f"input {said.input_hash[:16]} adjudicated, {words}"
        await self._book.decide(
            candidate_id, actor=said.actor, reason=f"{reason} ({said.reason})" if said.reason else reason
        )

    async def _lost(self, app_id: str, component_id: str, hashed: str) -> list[tuple[str, str, dict[str, Any]]]:
        """(candidate id, payload's digest, payload) of lost comparisons on this input."""
        found = []
        for lately in self._lately(app_id, component_id):
            candidate = await self._book.whole(lately.id)
            for mismatch in candidate.mismatches:
                case = await self._store.payload(mismatch.payload, app_id)
                if case is not None and case["inputHash"] == hashed:
                    found.append((candidate.id, mismatch.payload, case))
        return found

    def _lately(self, app_id: str, component_id: str) -> list[Candidate]:
        return list(islice(self._book.newest_first(app_id, component_id), _CANDIDATES_CORRECTED))

    def _component(self, app_id: str, component_id: str) -> ComponentSnapshot:
        component = self._registry.snapshot(app_id).components.get(component_id)
        if component is None:
            raise ComponentNotFound(f"{app_id} has no component {component_id!r}.")
        return component


def _check(component: ComponentSnapshot, expected: Any) -> None:
    """An answer that the component could not give cannot be right, nor one that cannot be kept as it is."""
    try:
        strict_json.dumps(expected)
    except TypeError:
        message = "it holds a whole number beyond 64 bits, which is not kept exactly"
        details = {"problems": [{"path": "/expected", "message": message}]}
        raise ValidationFailed(f"expected: {message}", details=details) from None
    validator = component.output_validator
    problems = [] if validator is None else list(validator.problems(expected))
    if problems:
        first = problems[0]
        raise ValidationFailed(
            f"expected{first['path']}: {first['message']}",
            details={"problems": [{**one, "path": f"/expected{one['path']}"} for one in problems]},
        )


def _rejected(seen: list[Any], expected: Any, comparator: Comparator) -> tuple[Any, ...]:
    """The distinct answers that were given for this input and are not right."""
    distinct: list[Any] = []
    for answer in seen:
        if answer is None or comparator.beside_text.equal(answer, expected) or answer in distinct:
            continue
        distinct.append(answer)
    return tuple(distinct)
