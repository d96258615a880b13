"""The governor's numbers (`evolution.*` in settings); the panel and GET /admin/v1/evolution/config show every one.

Shares and rates lie in [0, 1]; names carry their unit. A change applies to what is decided from then on; the account
of a candidate keeps the epsilon, delta and alpha it was opened with.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Any, Protocol, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from uhlp import strict_json
from uhlp.errors import ValidationFailed
from uhlp.llm.budgets import EvolutionBudget


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts, in words; stands in the number's annotation."""

    words: str


class ConfigInForce(Protocol):
    """Where services read the numbers whenever they use one: they may change at run time (`EvolutionNumbers`)."""

    @property
    def now(self) -> "EvolutionConfig": ...


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


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoiseConfig(_Section):
    """A/A check: more self-disagreement than this is no function and is not compiled. At most `aa_samples` inputs are
    asked about again, fewer when it is clear.
    """

    max_self_disagreement: Share = 0.10
    aa_samples: Count = 200


class JudgeConfig(_Section):
    """A judge model is trusted when it agrees on at least `known_cases` known answers, and on this share of them."""

    known_cases: Count = 20
    most_cases: Count = 40
    min_agreement: Share = 0.9
    timeout_s: Seconds = 60.0

    @model_validator(mode="after")
    def _can_be_trusted(self) -> Self:
        if self.known_cases > self.most_cases:
            raise ValueError(f"known_cases must be at most most_cases, {self.most_cases}: else no judge is trusted")
        return self


class VerifyConfig(_Section):
    """Before live traffic: repair rounds, least coverage worth having, least data, executions at a time in replay."""

    repair_rounds: Annotated[int, Field(ge=0, le=10), COUNT] = 3
    min_coverage: Share = 0.20
    min_train: Count = 30
    class_min_agreeing: Count = 30
    tests_timeout_s: Seconds = 60.0
    concurrency: Annotated[int, Field(ge=1, le=64), COUNT] = 4


class MinimisingConfig(_Section):
    """How far counterexamples are made smaller for one attempt: of how many inputs, with how many runs of handlers and
    model calls in all (at most two calls more an input, to have the result upheld). Inputs of up to `small_bytes` of
    JSON stay as they are.
    """

    inputs: Annotated[int, Field(ge=0, le=100), COUNT] = 6
    executions: Annotated[int, Field(ge=0, le=10_000), COUNT] = 400
    model_calls: Annotated[int, Field(ge=0, le=1000), COUNT] = 24
    small_bytes: Annotated[int, Field(ge=1, le=1_000_000), Unit("bytes")] = 160


class CanaryConfig(_Section):
    """Shares of live traffic, one step after the other, and what each step waits for."""

    weights: Annotated[tuple[float, ...], AfterValidator(_check_weights), SHARE] = (0.05, 0.25, 0.5, 1.0)
    min_executions: Count = 50
    min_step_s: Annotated[float, Field(ge=0, le=31 * 86_400), SECONDS] = 60.0
    audit_share: Annotated[float, Field(gt=0, le=1), SHARE] = 0.2

    def share_at(self, step: int | None) -> float:
        """The share of this step. One that the list, made shorter, has no more gets the largest share below 1: never
        more than was decided.
        """
        place = step or 0
        return self.weights[place] if place < len(self.weights) else max([*self.weights[:-1], self.weights[0]])


class DeadlineConfig(_Section):
    """A handler's own deadline in traffic: `p99_factor` times its 99th percentile, but `least_s` at least, and never
    more than a quarter of its component's timeout. A shorter one would measure how busy the machine is.
    """

    p99_factor: Annotated[float, Field(ge=1, le=1000), Unit("ratio")] = 10.0
    least_s: Seconds = 0.25


class ShareConfig(_Section):
    """Arms of a canary: one that is no worse is rolled back with probability `alpha` at most. The candidate's failures
    may be `rho` times as frequent, its latency and cost may lie `tolerance` above the baseline's.
    """

    alpha: ErrorLevel = 0.01
    rho: Annotated[float, Field(ge=1, le=2), Unit("ratio")] = 1.05
    tolerance: Annotated[float, Field(ge=0, le=1), SHARE] = 0.05


class MonitorConfig(_Section):
    """CUSUM against a loss rate above `mean` with bets of `fraction` / `mean`, and the fast rule."""

    mean: Annotated[float, Field(gt=0, lt=0.5), SHARE] = 0.01
    fraction: Annotated[float, Field(gt=0, lt=1), SHARE] = 0.05
    threshold: Annotated[float, Field(ge=10, le=1e9), Unit("ratio")] = 1000.0
    fast_window: Annotated[int, Field(ge=1, le=1000), COUNT] = 20
    fast_failures: Count = 5

    @model_validator(mode="after")
    def _can_alarm(self) -> Self:
        if self.fast_failures > self.fast_window:
            raise ValueError(f"fast_failures must be at most fast_window, {self.fast_window}: else it never alarms")
        return self


class RejitConfig(_Section):
    """Clocks before compiling again after f failures (`statistics.recompile_wait`)."""

    t0_s: Seconds = 600.0
    t_max_s: Seconds = 86_400.0
    n0: Count = 200
    n_max: Count = 20_000
    f_max: Annotated[int, Field(ge=1, le=100), COUNT] = 5


class ReplaceConfig(_Section):
    """A handler in service that leaves this share of at least so many requests within an hour to the model is compiled
    anew, if clocks and worth allow it.
    """

    deoptimised_share: Share = 0.3
    min_requests: Count = 200


class LimitsConfig(_Section):
    """How much may happen at once, and what evolution may spend on models a day (UTC), all applications together.

    `usd_per_day` None: no budget is set, and rules of applications without one of their own only recommend. Of an
    application's own budget (`llm.budget`) evolution takes at most `share_of_application_budget`. A call whose price is
    unknown counts `unpriced_usd_per_mtok` dollars a million tokens.
    """

    canaries_per_application: Count = 1
    compilations_per_hour: Count = 2
    usd_per_day: Annotated[float | None, Field(ge=0, allow_inf_nan=False), Unit("USD a day")] = None
    share_of_application_budget: Share = 0.5
    unpriced_usd_per_mtok: Annotated[float, Field(ge=0, le=1e6), Unit("USD a million tokens")] = 10.0

    @property
    def budget(self) -> EvolutionBudget:
        """What evolution may spend."""
        return EvolutionBudget(self.usd_per_day, self.share_of_application_budget, self.unpriced_usd_per_mtok)


class BreakEvenConfig(_Section):
    """When a rule's compilation pays: by what it saves within `horizon_days` at the present rate. `assumed_coverage` is
    expected of a component that never had a handler.
    """

    horizon_days: Annotated[float, Field(gt=0, le=3650), Unit("days")] = 30.0
    assumed_coverage: Annotated[float, Field(gt=0, le=1), SHARE] = 0.5


class EvolutionConfig(_Section):
    """All numbers of evolution. epsilon, delta and alpha are the gate's (a component may set its own epsilon).

    `usd_per_second_saved` is what a second less of waiting is worth, beside the money a call costs; a component may say
    otherwise with `optimization.usdPerSecondSaved`. 0: only money counts, and a slow model of price 0 saves nothing.
    Example: at 0.001, 10,000 calls a day that each wait one second less save 10 dollars a day.
    """

    cycle_s: Seconds = 10.0
    epsilon: Annotated[float, Field(gt=0, lt=0.5), SHARE] = 0.05
    delta: ErrorLevel = 0.05
    alpha: ErrorLevel = 0.05
    n_max: Annotated[int, Field(ge=100, le=1_000_000), COUNT] = 5000
    noise: NoiseConfig = NoiseConfig()
    judge: JudgeConfig = JudgeConfig()
    verify: VerifyConfig = VerifyConfig()
    minimising: MinimisingConfig = MinimisingConfig()
    canary: CanaryConfig = CanaryConfig()
    deadline: DeadlineConfig = DeadlineConfig()
    share: ShareConfig = ShareConfig()
    monitor: MonitorConfig = MonitorConfig()
    rejit: RejitConfig = RejitConfig()
    replace: ReplaceConfig = ReplaceConfig()
    limits: LimitsConfig = LimitsConfig()
    break_even: BreakEvenConfig = BreakEvenConfig()
    usd_per_second_saved: Annotated[float, Field(ge=0, le=1e6), Unit("USD a second")] = 0.0
    freeze_rollbacks_per_hour: Count = 3
    duplicates_cap: Count = 3
    hold_windows: Count = 1
    discovered_expires_s: Seconds = 86_400.0
    coder_timeout_s: Seconds = 120.0
    measuring_errors_in_a_row: Count = 4
    same_reason_quarantine: Count = 3
    evidence_save_s: Annotated[float, Field(ge=0, le=3600), SECONDS] = 5.0

    @classmethod
    def checked(cls, values: Mapping[str, Any], *, strict: bool = False) -> Self:
        """The configuration of these values; ValidationFailed lists every field that is wrong, with its path. `strict`
        takes no text for a number.
        """
        try:
            if strict:
                return cls.model_validate_json(strict_json.dumps(dict(values)), strict=True)
            return cls.model_validate(dict(values))
        except ValidationError as error:
            problems = [
                {"path": ".".join(str(part) for part in one["loc"]), "message": one["msg"]} for one in error.errors()
            ]
            text = "; ".join(f"{problem['path']}: {problem['message']}" for problem in problems)
            raise ValidationFailed(f"Not valid: {text}.", details={"problems": problems}) from None

    def with_overrides(self, overrides: Mapping[str, Any], *, strict: bool = False) -> Self:
        """This configuration with the named fields changed (nested mappings merge), checked like a new one."""
        return self.checked(_merged(self.model_dump(mode="json"), overrides), strict=strict)

    @property
    def now(self) -> "EvolutionConfig":
        """Itself: numbers that nobody changes are those in force (`ConfigInForce`)."""
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical values: the ledger's configHash."""
        return sha256(strict_json.canonical(self.model_dump())).hexdigest()


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in changes.items():
        below = base.get(name)
        result[name] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return result
