"""HELD-OUT replay: the first evidence of a candidate, from recorded answers that no proposer has seen."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from statistics import median

from uhlp.evals.comparator import Comparator
from uhlp.evals.replay import replay
from uhlp.evolution.comparison import Comparison
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.reference import MeasurementFailed, Reference
from uhlp.execution import Executor, HandlerImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample


@dataclasses.dataclass(frozen=True, slots=True)
class HeldOutReport:
    """What was lost, and the model's own latency on these inputs (p50, ms; None when none was recorded)."""

    wrong: tuple[Comparison, ...]
    baseline_p50_ms: float | None


async def replay_held_out(
    evidence: LiveEvidence,
    *,
    app: AppSnapshot,
    component: ComponentSnapshot,
    handler: HandlerImplementation,
    samples: Sequence[Sample],
    comparator: Comparator,
    executor: Executor,
    reference: Reference,
    timeout_s: float,
    duplicates_cap: int,
) -> HeldOutReport:
    """Run `handler` on the held-out samples and enter every comparison into `evidence`, asking up on mismatches."""
    report = await replay(
        executor, app, component, handler, _capped(samples, duplicates_cap), comparator, timeout_s=timeout_s
    )
    for latency_ms in report.latencies_ms:
        evidence.see(latency_ms=latency_ms)
    for _ in range(report.deoptimised + report.failed):
        evidence.see()
    for sample in report.agreed:
        right = Comparison("replay", sample.input_hash, sample.input, "right", "single", sample.output, sample.output)
        evidence.enter(right, duplicates_cap=duplicates_cap)
    wrong = []
    for mismatch in report.mismatches:
        comparison = Comparison(
            "replay",
            mismatch.input_hash,
            mismatch.input,
            "wrong",
            "single",
            mismatch.expected,
            mismatch.got,
            mismatch.why,
        )
        if mismatch.got is not None:
            comparison = await _asked_up(reference, app, component, comparison, comparator)
        evidence.enter(comparison, duplicates_cap=duplicates_cap)
        if comparison.outcome == "wrong":
            wrong.append(comparison)
    latencies = [sample.latency_ms for sample in samples if sample.latency_ms is not None]
    return HeldOutReport(tuple(wrong), median(latencies) if latencies else None)


async def _asked_up(
    reference: Reference, app: AppSnapshot, component: ComponentSnapshot, comparison: Comparison, comparator: Comparator
) -> Comparison:
    try:
        verdict = await reference.judge(
            app, component, comparison.input, first=comparison.expected, got=comparison.got, comparator=comparator
        )
    except MeasurementFailed:
        return comparison  # the recorded answer is all there is
    return dataclasses.replace(
        comparison,
        outcome=verdict.outcome,
        reference=verdict.reference,
        expected=verdict.expected,
        model_was_wrong=verdict.outcome == "right",
    )


def _capped(samples: Sequence[Sample], cap: int) -> list[Sample]:
    """Each input at most `cap` times."""
    seen: Counter[str] = Counter()
    kept = []
    for sample in samples:
        seen[sample.input_hash] += 1
        if seen[sample.input_hash] <= cap:
            kept.append(sample)
    return kept
