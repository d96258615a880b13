"""Replay: run one implementation over recorded samples and hold its answers against the recorded ones."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any
from uuid import uuid4

from uhlp.evals.comparator import Comparator
from uhlp.execution import ExecutionCall, ExecutionResult, Executor, HandlerImplementation
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One answer that differs from the recorded one. `got` is None when the handler failed; `why` says how."""

    input_hash: str
    input: dict[str, Any]
    expected: Any
    got: Any
    why: str


@dataclass(slots=True)
class ReplayReport:
    """What became of the replayed samples: n = answered + deoptimised + failed = agreed + mismatches + deoptimised."""

    answered: int = 0
    deoptimised: int = 0
    failed: int = 0
    refused: int = 0
    agreed: list[Sample] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def n(self) -> int:
        return self.answered + self.deoptimised + self.failed

    @property
    def coverage(self) -> float:
        """Share of samples the handler answered itself; 0 without samples."""
        return self.answered / self.n if self.n else 0.0

    @property
    def agreement(self) -> float | None:
        """Share of its answers that match; None when it answered nothing."""
        return len(self.agreed) / self.answered if self.answered else None

    @property
    def p50_ms(self) -> float | None:
        return median(self.latencies_ms) if self.latencies_ms else None


async def replay(
    executor: Executor,
    app: AppSnapshot,
    component: ComponentSnapshot,
    implementation: HandlerImplementation,
    samples: Sequence[Sample],
    comparator: Comparator,
    *,
    timeout_s: float,
    concurrency: int = 4,
) -> ReplayReport:
    """Run `implementation` on every sample, in the trial group, and compare.

    An exception, a timeout or a schema failure counts as a mismatch; a deoptimise does not. When the machine refuses to
    run the handler (no sandbox free), the sample is left out and counted as `refused`: an error of measuring is no
    score.
    """
    report = ReplayReport()
    queue = iter(samples)

    async def work() -> None:
        for sample in queue:
            result = await executor.run(
                ExecutionCall(
                    app=app,
                    component=component,
                    implementation=implementation,
                    input=sample.input,
                    request_id=f"replay-{uuid4().hex}",
                    trace_id=uuid4().hex,
                    timeout_s=timeout_s,
                    source="internal",
                    purpose="replay",
                    group="trial",
                )
            )
            _count(report, sample, result, comparator)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return report


def _count(report: ReplayReport, sample: Sample, result: ExecutionResult, comparator: Comparator) -> None:
    if result.outcome == "deoptimize":
        report.deoptimised += 1
        return
    if result.outcome == "failed":
        if result.is_refusal:
            report.refused += 1
            return
        report.failed += 1
        why = f"{result.failure}: {result.error.message if result.error else ''}"
        report.mismatches.append(Mismatch(sample.input_hash, sample.input, sample.output, None, why))
        return
    report.answered += 1
    report.latencies_ms.append(result.latency_ms)
    if comparator.equal(sample.output, result.data):
        report.agreed.append(sample)
    else:
        why = "; ".join(comparator.differences(sample.output, result.data))
        report.mismatches.append(Mismatch(sample.input_hash, sample.input, sample.output, result.data, why))
