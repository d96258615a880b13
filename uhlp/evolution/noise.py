"""A/A calibration: how often the model disagrees with itself, before anything is compiled."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from uhlp.evals.comparator import Comparator
from uhlp.evolution.config_sections import NoiseConfig
from uhlp.evolution.measuring import MeasurementFailed, Spending
from uhlp.evolution.reference import Dispute, Reference
from uhlp.evolution.statistics import EvidenceAccount, Verdict, clopper_pearson_upper
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot
from uhlp.traffic.samples import Sample

CONFIDENCE_DELTA = 0.05
FULL_SAMPLE = 200
"""From so many pairs on the share itself decides, where the evidence alone does not."""
_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """n inputs that the model answered twice, `disagreed` of them with another answer.

    `repeats` of the n were found in traffic and cost nothing. `unmeasured` inputs could not be asked again (`trouble`).
    `verdict` is the sequential test's: accept (it is a function), reject, or hold when the inputs ran out first.
    """

    n: int
    disagreed: int
    unmeasured: int = 0
    trouble: str = ""
    repeats: int = 0
    verdict: str = str(Verdict.HOLD)

    @property
    def rate(self) -> float | None:
        """q: the share of inputs on which two calls differ."""
        return self.disagreed / self.n if self.n else None

    @property
    def proven_at_least(self) -> float:
        """One-sided 95 % lower bound of the disagreement rate (Clopper-Pearson); 0 without data."""
        return 1.0 - clopper_pearson_upper(self.n - self.disagreed, self.n, CONFIDENCE_DELTA) if self.n else 0.0

    def is_noise(self, allowed: float) -> bool:
        """Whether the model is no function: proven above `allowed`, or above it on a full sample."""
        if self.verdict == Verdict.REJECT or self.proven_at_least > allowed:
            return True
        return self.verdict != Verdict.ACCEPT and self.n >= FULL_SAMPLE and (self.rate or 0.0) > allowed

    def describe(self, allowed: float) -> str:
        """q, n and what is allowed, for people."""
        return f"{self.disagreed} of {self.n} repeated inputs (q = {self.rate or 0:.0%}, allowed {allowed:.0%})"


async def measure_noise(
    reference: Reference,
    app: AppSnapshot,
    component: ComponentSnapshot,
    samples: Sequence[Sample],
    comparator: Comparator,
    *,
    config: NoiseConfig,
    spending: Spending,
) -> NoiseReport:
    """How often the model answers an input of `samples` otherwise the second time; the report is about distinct inputs.

    Inputs that traffic repeats come first, their two newest answers are a pair already. Then the model is asked again
    on the others, in the order of their hashes (a sample that favours none), a few at a time, until an e-process says
    that q is below or above `max_self_disagreement` (each wrongly with at most 5 %), or `aa_samples` are reached.
    """
    allowed = min(max(config.max_self_disagreement, 0.001), 0.999)
    account = EvidenceAccount(epsilon=allowed, delta=CONFIDENCE_DELTA, alpha=CONFIDENCE_DELTA, n_max=10**9, bounds=())
    answers: dict[str, list[Sample]] = {}
    for sample in samples:
        answers.setdefault(sample.input_hash, []).append(sample)
    ordered = [answers[hashed] for hashed in sorted(answers)]
    pairs = [one for one in ordered if len(one) > 1]
    alone = [one[0] for one in ordered if len(one) == 1]
    repeats = unmeasured = 0
    trouble = ""

    def is_enough() -> bool:
        return account.verdict is not Verdict.HOLD or account.n >= config.aa_samples

    async def differs(sample: Sample, again: object) -> bool:
        dispute = Dispute(
            app=app, component=component, value=sample.input, first=sample.output, got=again, comparator=comparator,
            spending=spending,
        )  # fmt: skip
        return not await reference.agree(dispute)

    async def ask(sample: Sample) -> bool:
        again = await reference.model_answer(app, component, sample.input, spending=spending)
        return await differs(sample, again)

    for newest, before, *_ in pairs:
        if is_enough():
            break
        account.observe(float(await differs(newest, before.output)))
        repeats += 1
    for start in range(0, len(alone), _AT_ONCE):
        if is_enough() or unmeasured > account.n + _AT_ONCE:
            break
        batch = alone[start : start + min(_AT_ONCE, config.aa_samples - account.n)]
        for found in await asyncio.gather(*(ask(sample) for sample in batch), return_exceptions=True):
            if isinstance(found, MeasurementFailed):
                unmeasured += 1
                trouble = str(found)
            elif isinstance(found, BaseException):
                raise found
            else:
                account.observe(float(found))
    return NoiseReport(account.n, account.k, unmeasured, trouble, repeats, str(account.verdict))
