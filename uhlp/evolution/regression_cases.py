"""Cases of the regression set: inputs that a handler got wrong, as they are kept and as they are used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from uhlp.evolution.candidate import Candidate
from uhlp.evolution.minimiser import Minimised
from uhlp.evolution.records import RegressionCase, digest_of
from uhlp.optimization.proposer import Counterexample
from uhlp.traffic.redaction import Redaction
from uhlp.traffic.samples import Sample
from uhlp.traffic.split import Split

_NAMED_CASES = 5


@dataclass(frozen=True, slots=True)
class Case:
    """One input that a handler got wrong; `payload` is its name.

    `is_certain`: more than one call of the model says that `expected` is right. `minimised_from` is the payload of the
    input it was made of.
    """

    payload: str
    split: Split
    candidate_id: str
    input: Any
    input_hash: str
    expected: Any
    got: Any
    why: str
    is_certain: bool
    minimised_from: str | None = None

    @property
    def as_counterexample(self) -> Counterexample:
        return Counterexample(self.input, self.expected, self.got if self.got is not None else self.why)


def case_of(payload: str, split: Split, candidate_id: str, kept: Mapping[str, Any]) -> Case:
    """From what is kept of it (`Comparison.payload`, `payload_of`)."""
    return Case(
        payload, split, candidate_id, kept["input"], kept["inputHash"], kept["expected"], kept["got"], kept["why"],
        kept.get("upheld", kept["got"] is not None), kept.get("minimisedFrom"),
    )  # fmt: skip


def smaller_case(original: Case, smaller: Minimised, redaction: Redaction) -> Case:
    """The case that a minimised input makes; what it was made of stays a case, too."""
    made = replace(
        original, input=smaller.input, input_hash=smaller.input_hash, expected=redaction.apply(smaller.expected),
        got=redaction.apply(smaller.got), why=redaction.apply(smaller.why), is_certain=True,
        minimised_from=original.payload,
    )  # fmt: skip
    return replace(made, payload=digest_of(payload_of(made)))


def payload_of(case: Case) -> dict[str, Any]:
    """What is kept of a case, beside the ledger, where it stays deletable."""
    return {
        "input": case.input, "expected": case.expected, "got": case.got, "why": case.why, "inputHash": case.input_hash,
        "upheld": case.is_certain, "minimisedFrom": case.minimised_from,
    }  # fmt: skip


def row_of(case: Case, candidate: Candidate, now: float) -> RegressionCase:
    """The row that adds a minimised case to the set of `candidate`'s component."""
    return RegressionCase(
        app_id=candidate.app_id, component_id=candidate.component_id, spec_hash=candidate.spec_hash,
        payload=case.payload, split=case.split, candidate_id=case.candidate_id,
        reason=f"made of {case.minimised_from}", added_at=now,
    )  # fmt: skip


def sample_of(case: Case, app_id: str) -> Sample:
    """The case as a recorded call, for replay."""
    return Sample(
        id=case.payload, app_id=app_id, component_id="", ts=0.0, input=case.input, output=case.expected,
        implementation="", handler="llm", latency_ms=None, tokens_in=0, tokens_out=0, cost_usd=None, ok=True,
        trace_id="", source="audit", spec_hash="", input_hash=case.input_hash, split=case.split,
    )  # fmt: skip


def named(cases: Sequence[Case]) -> str:
    """Cases by the beginning of their payloads' digests: the ledger holds no inputs."""
    names = [f"{one.payload[:12]} ({'TRAIN' if one.split == 'train' else 'HELD-OUT'})" for one in cases[:_NAMED_CASES]]
    more = f" and {len(cases) - _NAMED_CASES} more" if len(cases) > _NAMED_CASES else ""
    return f"case{'s' if len(cases) > 1 else ''} {', '.join(names)}{more}"
