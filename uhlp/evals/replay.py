"""Replay: run one implementation over recorded samples and hold its answers against the recorded ones."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any, Literal
from uuid import uuid4

from uhlp.errors import ToolNotFound
from uhlp.evals.comparator import Comparator
from uhlp.execution import ExecutionCall, ExecutionResult, Executor, HandlerImplementation, run_with_second_try
from uhlp.execution.executor import pool_of
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one sample. `expected` is the recorded output; `got` the handler's when it answered.

    `why` says how a "differs" differs and how a "failed" failed (exception, timeout, schema …). "refused": the machine
    had no sandbox for it, which says nothing about the handler. "unrecorded": it called a tool (`why`), and what that
    answered is not recorded. `forbidden_tools`: what it called and may not use.
    """

    input_hash: str
    input: dict[str, Any]
    expected: Any
    outcome: Literal["agrees", "differs", "deoptimised", "failed", "refused", "unrecorded"]
    got: Any = None
    why: str = ""
    latency_ms: float | None = None
    forbidden_tools: tuple[str, ...] = ()

    @property
    def is_answer(self) -> bool:
        return self.outcome in ("agrees", "differs")


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What became of the samples, in their order: no figure may depend on which run ended first."""

    results: tuple[Replayed, ...]

    @property
    def n(self) -> int:
        """Samples that say something: all but the refused and the unrecorded."""
        return len(self.results) - self.refused - self.unrecorded

    @property
    def answered(self) -> int:
        return sum(one.is_answer for one in self.results)

    @property
    def agreed(self) -> int:
        return self._count("agrees")

    @property
    def deoptimised(self) -> int:
        return self._count("deoptimised")

    @property
    def failed(self) -> int:
        return self._count("failed")

    @property
    def refused(self) -> int:
        return self._count("refused")

    @property
    def unrecorded(self) -> int:
        return self._count("unrecorded")

    @property
    def mismatches(self) -> list[Replayed]:
        """Wrong answers and failures."""
        return [one for one in self.results if one.outcome in ("differs", "failed")]

    @property
    def coverage(self) -> float:
        """Share of samples the handler answered itself; 0 without samples."""
        return self.answered / self.n if self.n else 0.0

    @property
    def agreement(self) -> float | None:
        """Share of its answers that match; None when it answered nothing."""
        return self.agreed / self.answered if self.answered else None

    @property
    def p50_ms(self) -> float | None:
        latencies = [one.latency_ms for one in self.results if one.latency_ms is not None]
        return median(latencies) if latencies else None

    def _count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.results)


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
    run the handler (no sandbox free), the sample is left out and counted as refused: an error of measuring is no
    score. No more runs are under way than the pool has workers for: one that waits for another that hangs is refused.
    """
    concurrency = min(concurrency, pool_of(app, component).max_instances)
    results: list[Replayed | None] = [None] * len(samples)
    queue = iter(enumerate(samples))

    async def work() -> None:
        for place, sample in queue:
            call = trial_of(app, component, implementation, sample.input, timeout_s=timeout_s)
            result = await run_with_second_try(executor, call)
            results[place] = _replayed(sample, result, comparator)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return ReplayReport(tuple(one for one in results if one is not None))


def trial_of(
    app: AppSnapshot,
    component: ComponentSnapshot,
    implementation: HandlerImplementation,
    value: dict[str, Any],
    *,
    timeout_s: float,
) -> ExecutionCall:
    """A run of code that is not in service, off every request's path. What a component with effects is asked for
    again must not act: its tools do not run, and a recorded sample does not say what they would have answered.
    """
    has_effects = component.definition.effective_effects != "none"
    return ExecutionCall(
        app=app,
        component=component,
        implementation=implementation,
        input=value,
        request_id=f"replay-{uuid4().hex}",
        trace_id=uuid4().hex,
        timeout_s=timeout_s,
        source="internal",
        purpose="replay",
        group="trial",
        recorded=() if has_effects else None,
    )


def _replayed(sample: Sample, result: ExecutionResult, comparator: Comparator) -> Replayed:
    replayed = partial(
        Replayed, sample.input_hash, sample.input, sample.output,
        forbidden_tools=tuple(one.tool for one in result.tool_calls if one.outcome == ToolNotFound.code),
    )  # fmt: skip
    if result.unrecorded:
        return replayed("unrecorded", why=", ".join(dict.fromkeys(result.unrecorded)))
    if result.outcome == "deoptimize":
        return replayed("deoptimised")
    if result.outcome == "failed":
        why = f"{result.failure}: {result.error.message if result.error else ''}"
        return replayed("refused" if result.is_refusal else "failed", why=why)
    if comparator.equal(sample.output, result.data):
        return replayed("agrees", result.data, latency_ms=result.latency_ms)
    why = "; ".join(comparator.differences(sample.output, result.data))
    return replayed("differs", result.data, why, result.latency_ms)
