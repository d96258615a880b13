"""The sections of the governor's numbers; `EvolutionConfig` puts them together.

Shares and rates lie in [0, 1]; names carry their unit.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from uhlp.llm.budgets import EvolutionBudget


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts, in words; stands in the number's annotation."""

    words: str


SHARE, SECONDS, COUNT = Unit("share"), Unit("s"), Unit("count")
Share = Annotated[float, Field(ge=0, le=1), SHARE]
ErrorLevel = Annotated[float, Field(gt=0, le=0.2), Unit("probability")]
Seconds = Annotated[float, Field(gt=0, le=31 * 86_400), SECONDS]
Count = Annotated[int, Field(ge=1, le=1_000_000), COUNT]


MOST_STEPS = 20


def _check_weights(weights: tuple[float, ...]) -> tuple[float, ...]:
    rising = all(low < high for low, high in pairwise(weights))
    if not (weights and rising and weights[0] > 0 and weights[-1] == 1 and len(weights) <= MOST_STEPS):
        raise ValueError(
            f"canary weights, at most {MOST_STEPS}, rise from above 0 to exactly 1, for example (0.05, 0.25, 0.5, 1)"
        )
    return weights


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoiseConfig(Section):
    """A/A check: more self-disagreement than this is no function and is not compiled. At most `aa_samples` inputs are
    asked about again, fewer when it is clear.
    """

    max_self_disagreement: Share = 0.10
    """Share of the inputs that the model answers differently when it is asked again."""

    aa_samples: Count = 200
    """Inputs that are asked about again, at most."""


class JudgeConfig(Section):
    """A judge model is trusted when it agrees on at least `known_cases` known answers, and on this share of them."""

    known_cases: Count = 20
    """Known answers that a judge is tried on, at least."""

    most_cases: Count = 40
    """And at most."""

    min_agreement: Share = 0.9
    """Share of them that it must get right."""

    timeout_s: Seconds = 60.0
    """How long one of its judgements may take."""

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Self:
        if self.known_cases > self.most_cases:
            raise ValueError(f"known_cases must be at most most_cases, {self.most_cases}: else no judge is trusted")
        return self


class VerifyConfig(Section):
    """Before live traffic: repair rounds, least coverage worth having, least data, executions at a time in replay."""

    repair_rounds: Annotated[int, Field(ge=0, le=10), COUNT] = 3
    """How often the coder model may repair its draft."""

    min_coverage: Share = 0.20
    """Share of the replayed inputs that a handler must answer itself."""

    min_train: Count = 30
    """Recorded answers that a proposer needs, at least."""

    class_min_agreeing: Count = 30
    """Comparisons in a row that must agree before a class of answers is served (`decisionField`)."""

    tests_timeout_s: Seconds = 60.0
    """How long the generated tests may run."""

    concurrency: Annotated[int, Field(ge=1, le=64), COUNT] = 4
    """Executions at a time in replay."""


class MinimisingConfig(Section):
    """How far counterexamples are made smaller for one attempt: of how many inputs, with how many runs of handlers and
    model calls in all (at most two calls more an input, to have the result upheld). Inputs of up to `small_bytes` of
    JSON stay as they are.
    """

    inputs: Annotated[int, Field(ge=0, le=100), COUNT] = 6
    """Counterexamples that are made smaller, for one attempt."""

    executions: Annotated[int, Field(ge=0, le=10_000), COUNT] = 400
    """Runs of handlers for it, in all."""

    model_calls: Annotated[int, Field(ge=0, le=1000), COUNT] = 24
    """Questions to the model for it, in all."""

    small_bytes: Annotated[int, Field(ge=1, le=1_000_000), Unit("bytes")] = 160
    """Inputs of so much JSON or less stay as they are."""


class CanaryConfig(Section):
    """Shares of live traffic, one step after the other, and what each step waits for."""

    weights: Annotated[tuple[float, ...], AfterValidator(_check_weights), SHARE] = (0.05, 0.25, 0.5, 1.0)
    """Share of the requests that the handler answers, step by step."""

    min_executions: Count = 50
    """Answers of the handler that a step waits for."""

    min_step_s: Annotated[float, Field(ge=0, le=31 * 86_400), SECONDS] = 60.0
    """How long a step lasts at least."""

    audit_share: Annotated[float, Field(gt=0, le=1), SHARE] = 0.2
    """Share of its answers in a canary that are held against the reference."""

    def share_at(self, step: int | None) -> float:
        """The share of this step. One that the list, made shorter, has no more gets the largest share below 1: never
        more than was decided.
        """
        place = step or 0
        return self.weights[place] if place < len(self.weights) else max([*self.weights[:-1], self.weights[0]])


class DeadlineConfig(Section):
    """A handler's own deadline in traffic: `p99_factor` times its 99th percentile, but `least_s` at least, and never
    more than a quarter of its component's timeout. A shorter one would measure how busy the machine is: where several
    new workers start at once on a machine under load, first calls have taken 0.4 s for 0.02 s of work.
    """

    p99_factor: Annotated[float, Field(ge=1, le=1000), Unit("ratio")] = 10.0
    """Times the 99th percentile of its recent latencies."""

    least_s: Seconds = 1.0
    """But at least this."""


class ShareConfig(Section):
    """Arms of a canary: one that is no worse is rolled back with probability `alpha` at most. The candidate's failures
    may be `rho` times as frequent, its latency and cost may lie `tolerance` above the baseline's.
    """

    alpha: ErrorLevel = 0.01
    rho: Annotated[float, Field(ge=1, le=2), Unit("ratio")] = 1.05
    """How much more often than the baseline it may fail."""

    tolerance: Annotated[float, Field(ge=0, le=1), SHARE] = 0.05
    """How much slower or dearer than the baseline it may be."""


class MonitorConfig(Section):
    """CUSUM against a loss rate above `mean` with bets of `fraction` / `mean`, and the fast rule."""

    mean: Annotated[float, Field(gt=0, lt=0.5), SHARE] = 0.01
    """The rate of wrong answers that is tolerated."""

    fraction: Annotated[float, Field(gt=0, lt=1), SHARE] = 0.05
    """How boldly the monitor bets against it."""

    threshold: Annotated[float, Field(ge=10, le=1e9), Unit("ratio")] = 1000.0
    """The evidence at which it alarms: once in at least so many answers while all is well."""

    fast_window: Annotated[int, Field(ge=1, le=1000), COUNT] = 20
    """The fast rule looks at so many answers."""

    fast_failures: Count = 5
    """And alarms at so many wrong ones among them."""

    @model_validator(mode="after")
    def _can_alarm(self) -> Self:
        if self.fast_failures > self.fast_window:
            raise ValueError(f"fast_failures must be at most fast_window, {self.fast_window}: else it never alarms")
        return self


class RejitConfig(Section):
    """Clocks before compiling again after f failures (`statistics.recompile_wait`)."""

    t0_s: Seconds = 600.0
    """The wait after the first failure; it doubles with each."""

    t_max_s: Seconds = 86_400.0
    """The longest wait."""

    n0: Count = 200
    """New samples that are waited for after the first failure; they double with each."""

    n_max: Count = 20_000
    """At most so many."""

    f_max: Annotated[int, Field(ge=1, le=100), COUNT] = 5
    """After so many failures the specification is quarantined."""


class ReplaceConfig(Section):
    """A handler in service that leaves this share of at least so many requests within an hour to the model is compiled
    anew, if clocks and worth allow it.
    """

    deoptimised_share: Share = 0.3
    """The share that it leaves to the model."""

    min_requests: Count = 200
    """Of at least so many requests within an hour."""


class LimitsConfig(Section):
    """How much may happen at once, and what evolution may spend on models a day (UTC), all applications together.

    `usd_per_day` None: no budget is set, and rules of applications without one of their own only recommend. Of an
    application's own budget (`llm.budget`) evolution takes at most `share_of_application_budget`. A call whose price is
    unknown counts `unpriced_usd_per_mtok` dollars a million tokens.
    """

    canaries_per_application: Count = 1
    """Canaries of one application at a time."""

    compilations_per_hour: Count = 2
    """Compilations of all applications that rules may start."""

    usd_per_day: Annotated[float | None, Field(ge=0, allow_inf_nan=False), Unit("USD a day")] = None
    """What evolution may spend on models; none set: rules only recommend."""

    share_of_application_budget: Share = 0.5
    """The part of `llm.budget` of an application that evolution may take."""

    unpriced_usd_per_mtok: Annotated[float, Field(ge=0, le=1e6), Unit("USD a million tokens")] = 10.0
    """What a token counts whose price is not known."""

    @property
    def budget(self) -> EvolutionBudget:
        """What evolution may spend."""
        return EvolutionBudget(self.usd_per_day, self.share_of_application_budget, self.unpriced_usd_per_mtok)


class BreakEvenConfig(Section):
    """When a rule's compilation pays: by what it saves within `horizon_days` at the present rate. `assumed_coverage` is
    expected of a component that never had a handler.
    """

    horizon_days: Annotated[float, Field(gt=0, le=3650), Unit("days")] = 30.0
    """Within how many days a compilation must have paid."""

    assumed_coverage: Annotated[float, Field(gt=0, le=1), SHARE] = 0.5
    """Expected of a first handler."""


class CompressConfig(Section):
    """What one attempt to shorten a prompt may take: samples of each half (TRAIN, HELD-OUT), runs, seconds."""

    samples: Annotated[int, Field(ge=5, le=1_000), COUNT] = 60
    """Of each half."""

    most_calls: Annotated[int, Field(ge=10, le=1_000_000), COUNT] = 5_000
    """Runs of prompts."""

    most_s: Annotated[float, Field(gt=0, le=86_400), SECONDS] = 3_600.0
    """How long it may take."""
