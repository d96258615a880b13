"""HELD-OUT replay: the first evidence of a candidate, from recorded answers that no proposer has seen."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import median

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import Replayed, replay
from uhlp.evolution.comparison import Comparison, settled
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.questions import Questions
from uhlp.evolution.reference import Dispute, MeasurementFailed, Reference
from uhlp.evolution.statistics import Verdict
from uhlp.evolution.tampering import forbidden_calls
from uhlp.execution import Executor, HandlerImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample

_PART = 50


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOutReport:
    """What was lost, and the model's own latency on these inputs (p50, ms; None when none was recorded).

    `trouble` says why the replay says nothing yet: the handler could not be run at all, or it differed from a recorded
    answer and nobody could be asked who is right (to leave only such comparisons out would flatter the handler).
    `tampering` says how it tried to deceive its evaluation. `results` are what became of the `samples` that were run.
    """

    wrong: tuple[Comparison, ...]
    baseline_p50_ms: float | None
    trouble: str | None = None
    tampering: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    results: tuple[Replayed, ...] = ()


async def replay_held_out(
    evidence: LiveEvidence,
    *,
    candidate_id: str,
    app: AppSnapshot,
    component: ComponentSnapshot,
    handler: HandlerImplementation,
    samples: Sequence[Sample],
    comparator: Comparator,
    executor: Executor,
    reference: Reference,
    questions: Questions,
    timeout_s: float,
    duplicates_cap: int,
    concurrency: int,
) -> HeldOutReport:
    """Run `handler` on the held-out samples and enter every comparison into `evidence`, asking up on mismatches.

    Comparisons are entered in the samples' order. The account decides as soon as it can, so an order that depends on
    the outcomes (all that agree first) would let a bad handler pass. It runs in parts: a handler that the evidence is
    against already, and that may hang on every sample, is not run on the rest.
    """
    wrong: list[Comparison] = []
    trouble: str | None = None
    tampering: list[str] = []
    kept = capped(samples, duplicates_cap)
    results: list[Replayed] = []
    for start in range(0, len(kept), _PART):
        report = await replay(
            executor, app, component, handler, kept[start : start + _PART], comparator,
            timeout_s=timeout_s, concurrency=concurrency,
        )  # fmt: skip
        if report.refused and not report.n:
            trouble = trouble or next(one.why for one in report.results)
        tampering = forbidden_calls(report)
        results += report.results
        for one in report.results:
            if one.outcome in ("refused", "unrecorded"):
                continue
            standing = evidence.note_answer(one.got) if one.is_answer else "trusted"
            evidence.see(latency_ms=one.latency_ms)
            if one.outcome == "deoptimised" or standing == "excluded":
                continue
            dispute = Dispute(
                app=app, component=component, value=one.input, first=one.expected, got=one.got, comparator=comparator,
                spending=evidence.spending, input_hash=one.input_hash,
            )  # fmt: skip
            try:
                comparison = await _judged(reference, one, dispute)
            except MeasurementFailed as failure:
                trouble = trouble or str(failure)
                continue
            evidence.enter(comparison, duplicates_cap=duplicates_cap)
            if comparison.outcome == "wrong":
                wrong.append(comparison)
            elif comparison.outcome == "ambiguous":
                await questions.ask(candidate_id, app, component, comparison)
        if tampering or evidence.account.verdict is Verdict.REJECT:
            break
    latencies = [sample.latency_ms for sample in samples if sample.latency_ms is not None]
    return HeldOutReport(
        tuple(wrong), median(latencies) if latencies else None, trouble, tuple(tampering),
        samples=tuple(kept[: len(results)]), results=tuple(results),
    )  # fmt: skip


async def _judged(reference: Reference, one: Replayed, dispute: Dispute) -> Comparison:
    if one.outcome == "failed":
        return Comparison(
            "replay", one.input_hash, one.input, "wrong", "single", one.expected, None, one.why, has_answered=False
        )
    return await settled(reference, dispute, stage="replay")


def capped(samples: Sequence[Sample], cap: int) -> list[Sample]:
    """Each input at most `cap` times."""
    seen: Counter[str] = Counter()
    kept = []
    for sample in samples:
        seen[sample.input_hash] += 1
        if seen[sample.input_hash] <= cap:
            kept.append(sample)
    return kept
