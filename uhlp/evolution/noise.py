"""A/A calibration: how often the model disagrees with itself, before anything is compiled."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from uhlp.evals.comparator import Comparator
from uhlp.evolution.reference import MeasurementFailed, Reference
from uhlp.evolution.statistics import clopper_pearson_upper
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample

CONFIDENCE_DELTA = 0.05


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """n repeated inputs, of which `disagreed` got another answer; `unmeasured` could not be asked again (`trouble`)."""

    n: int
    disagreed: int
    unmeasured: int
    trouble: str = ""

    @property
    def rate(self) -> float | None:
        return self.disagreed / self.n if self.n else None

    @property
    def proven_at_least(self) -> float:
        """One-sided 95 % lower bound of the disagreement rate (Clopper-Pearson); 0 without data."""
        return 1.0 - clopper_pearson_upper(self.n - self.disagreed, self.n, CONFIDENCE_DELTA) if self.n else 0.0


async def measure_noise(
    reference: Reference,
    app: AppSnapshot,
    component: ComponentSnapshot,
    samples: Sequence[Sample],
    comparator: Comparator,
    *,
    concurrency: int = 4,
) -> NoiseReport:
    """Ask the model again on each sample's input and compare with its recorded answer."""
    queue = iter(samples)
    n = disagreed = unmeasured = 0
    trouble = ""

    async def work() -> None:
        nonlocal n, disagreed, unmeasured, trouble
        for sample in queue:
            try:
                again = await reference.model_answer(app, component, sample.input)
            except MeasurementFailed as failure:
                unmeasured += 1
                trouble = str(failure)
                continue
            n += 1
            disagreed += not comparator.equal(sample.output, again)

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())
    return NoiseReport(n, disagreed, unmeasured, trouble)
