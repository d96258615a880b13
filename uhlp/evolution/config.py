"""The governor's numbers (`evolution.*` in settings); the panel and GET /admin/v1/evolution/config show every one.

Shares and rates lie in [0, 1]; names carry their unit. A change applies to what is decided from then on; the account
of a candidate keeps the epsilon, delta and alpha it was opened with.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any, Protocol, Self

from pydantic import Field, ValidationError

from uhlp import strict_json
from uhlp.errors import ValidationFailed
from uhlp.evolution.config_sections import (
    COUNT,
    SECONDS,
    SHARE,
    BreakEvenConfig,
    CanaryConfig,
    CompressConfig,
    Count,
    DeadlineConfig,
    ErrorLevel,
    JudgeConfig,
    LimitsConfig,
    MinimisingConfig,
    MonitorConfig,
    NoiseConfig,
    RejitConfig,
    ReplaceConfig,
    Seconds,
    Section,
    ShareConfig,
    Unit,
    VerifyConfig,
)


class ConfigInForce(Protocol):
    """Where services read the numbers whenever they use one: they may change at run time (`EvolutionNumbers`)."""

    @property
    def now(self) -> "EvolutionConfig": ...


class EvolutionConfig(Section):
    """All numbers of evolution. epsilon, delta and alpha are the gate's (a component may set its own epsilon).

    `usd_per_second_saved` is what a second less of waiting is worth, beside the money a call costs; a component may say
    otherwise with `optimization.usdPerSecondSaved`. 0: only money counts, and a slow model of price 0 saves nothing.
    Example: at 0.001, 10,000 calls a day that each wait one second less save 10 dollars a day.
    """

    cycle_s: Seconds = 10.0
    """Between two looks at what may be decided."""

    epsilon: Annotated[float, Field(gt=0, lt=0.5), SHARE] = 0.05
    """The share of wrong answers that a handler is proven to stay below."""

    delta: ErrorLevel = 0.05
    """Probability of letting in a handler that is worse than that, at most."""

    alpha: ErrorLevel = 0.05
    """Probability of refusing one that is better, at most."""

    n_max: Annotated[int, Field(ge=100, le=1_000_000), COUNT] = 5000
    """Comparisons after which a candidate's account is closed."""

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
    compress: CompressConfig = CompressConfig()
    usd_per_second_saved: Annotated[float, Field(ge=0, le=1e6), Unit("USD a second")] = 0.0
    """What a second less of waiting is worth."""

    freeze_rollbacks_per_hour: Count = 3
    """An application with so many rollbacks within an hour is left alone for that hour."""

    duplicates_cap: Count = 3
    """How often one and the same input may count as evidence."""

    hold_windows: Count = 1
    """Cycles in a row in which a rule must be true; a rule's own `hold` wins."""

    discovered_expires_s: Seconds = 86_400.0
    """A recommendation that nobody started is dropped after this."""

    coder_timeout_s: Seconds = 120.0
    """How long a coder model may take for one answer."""

    measuring_errors_in_a_row: Count = 4
    """Comparisons in a row that could not be made, or errors that nobody expected, before a candidate is paused."""

    same_reason_quarantine: Count = 3
    """Failures in a row for the same reason before the specification is quarantined."""

    evidence_save_s: Annotated[float, Field(ge=0, le=3600), SECONDS] = 5.0
    """How often running evidence is written to the disk, at most; decisions always are."""

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
