"""The governor's numbers: defaults, bounds, overrides."""

import pytest
from pydantic import ValidationError

from uhlp.errors import ValidationFailed
from uhlp.evolution.config import EvolutionConfig
from uhlp.evolution.statistics import Monitor, recompile_wait


def test_defaults_are_those_of_production() -> None:
    config = EvolutionConfig()
    assert (config.cycle_s, config.epsilon, config.delta, config.alpha, config.n_max) == (10, 0.05, 0.05, 0.05, 5000)
    assert config.canary.weights == (0.05, 0.25, 0.5, 1.0)
    assert config.limits.usd_per_day is None


def test_sections_are_the_arguments_of_the_statistics() -> None:
    config = EvolutionConfig()
    assert Monitor(**config.monitor.model_dump()).to_dict() == Monitor().to_dict()
    assert recompile_wait(1, key="k", **config.rejit.model_dump()) == recompile_wait(1, key="k")


def test_overrides_merge_and_change_the_digest() -> None:
    config = EvolutionConfig()
    changed = config.with_overrides({"epsilon": 0.02, "canary": {"min_step_s": 5}})
    assert (changed.epsilon, changed.canary.min_step_s, changed.canary.min_executions) == (0.02, 5, 50)
    assert changed.digest != config.digest
    assert changed.with_overrides({"epsilon": 0.05, "canary": {"min_step_s": 60}}).digest == config.digest


@pytest.mark.parametrize(
    ("overrides", "path"),
    [
        ({"epsilon": 0.5}, "epsilon"),
        ({"delta": float("nan")}, "delta"),
        ({"canary": {"weights": (0.5, 0.25, 1)}}, "canary.weights"),
        ({"canary": {"weights": (0.5, 0.9)}}, "canary.weights"),
        ({"limits": {"usd_per_day": -1}}, "limits.usd_per_day"),
        ({"verify": {"min_coverage": 2}}, "verify.min_coverage"),
        ({"canary": 3}, "canary"),
        ({"epsilom": 0.1}, "epsilom"),
    ],
)
def test_what_is_out_of_bounds_is_named(overrides: dict[str, object], path: str) -> None:
    with pytest.raises(ValidationFailed, match=path) as refused:
        EvolutionConfig().with_overrides(overrides)
    assert [problem["path"] for problem in refused.value.details["problems"]] == [path]


def test_the_configuration_is_frozen() -> None:
    with pytest.raises(ValidationError):
        EvolutionConfig().epsilon = 0.4  # type: ignore[misc]
