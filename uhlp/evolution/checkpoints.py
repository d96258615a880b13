"""Checkpoints: where a rollback returns to, and what the arms of a canary are held against, frozen before it begins.

The baseline is what is in service: the model, or the handler that the candidate is to replace. A canary compares its
arms side by side (`statistics.CanaryTests`), and lets the candidate be 5 % worse. For a handler that follows a handler
that follows a handler, five such losses would add up; so the tolerance is what is left of it between the best baseline
that this component ever had (under this specification) and the one in service now.
"""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import StateConflict, UhlpError
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, Checkpoint
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.statistics import CanaryTests
from uhlp.metrics.windows import Windows
from uhlp.registry.application_registry import ApplicationRegistry

MODEL = "prompt@stable"
_HOUR_S = 3600.0
_LEAST_REQUESTS = 50
"""Fewer say nothing about a p95."""
_FIGURES = ("p50Ms", "p95Ms", "costUsd")


class Checkpoints:
    """Reads memory only; but `rehearse` reads the repository."""

    def __init__(
        self, *, book: CandidateBook, app_registry: ApplicationRegistry, windows: Windows, config: ConfigInForce
    ) -> None:
        self._book = book
        self._registry = app_registry
        self._windows = windows
        self._config = config

    def create(self, app_id: str, component_id: str) -> Checkpoint:
        """As things are now. `baseline` is what one call of the model takes (the window's figures), and as "arm" what a
        request takes with what is in service: {implementation, requests, p50Ms, p95Ms, costUsd, best, tolerance}.
        `promptSha` is the prompt that the model is asked by.
        """
        snapshot = self._registry.snapshot(app_id)
        in_service = self._book.in_service(app_id, component_id)
        model = self._windows.window(app_id, component_id, _HOUR_S, handler="llm").as_dict()
        if in_service is None:
            arm = _figures(model)
        else:
            arm = _figures(self._windows.window(app_id, component_id, _HOUR_S).as_dict())
            if in_service.checkpoint is not None:  # the model answers only what the handler leaves to it now
                model = {name: one for name, one in in_service.checkpoint.baseline.items() if name != "arm"}
        component = snapshot.components.get(component_id)
        best = self._best(app_id, component_id, component.spec_hash if component is not None else "", arm)
        arm |= {
            "implementation": implementation_of(in_service),
            "best": best,
            "tolerance": _tolerance_left(arm, best, self._config.now.share.tolerance),
        }
        served = component.prompt_artifact if component is not None else None
        prompt = {} if served is None else {"promptSha": served.sha256}
        return Checkpoint(revision=snapshot.revision, baseline={**model, **prompt, "arm": arm})

    async def rehearse(self, app_id: str, component_id: str, checkpoint: Checkpoint) -> None:
        """Restore the component as of this checkpoint beside what serves: a rollback must lead somewhere before there
        is anything to roll back. Raises StateConflict where it would not.
        """
        revision = checkpoint.revision[:12]
        try:
            restored = (await self._registry.snapshot_at(app_id, checkpoint.revision)).components.get(component_id)
        except UhlpError as error:
            raise StateConflict(
                f"There would be no way back: {revision} cannot be restored: {error.message}"
            ) from error
        if restored is None or restored.prompt_artifact is None:
            raise StateConflict(f"There would be no way back: at {revision} no model runs {component_id}.")

    def canary_tests(self, checkpoint: Checkpoint) -> CanaryTests:
        """Fresh tests of two arms. What is not known of the baseline is not tested (`complete` may add it later)."""
        arm = checkpoint.baseline.get("arm", {})
        share = self._config.now.share
        return CanaryTests(
            p50_ms=arm.get("p50Ms"),
            p95_ms=arm.get("p95Ms"),
            cost_usd=arm.get("costUsd"),
            alpha=share.alpha,
            rho=share.rho,
            tolerance=arm.get("tolerance", share.tolerance),
            steps=max(1, sum(weight < 1 for weight in self._config.now.canary.weights)),
        )

    def complete(self, tests: CanaryTests, app_id: str, component_id: str) -> None:
        """At a new step: freeze the thresholds that were not known when the canary began. A test may begin late, it
        bets on what comes after.
        """
        if tests.latency is None or tests.cost is None:
            fresh = self.canary_tests(self.create(app_id, component_id))
            tests.latency = tests.latency or fresh.latency
            tests.cost = tests.cost or fresh.cost

    def has_changed(self, candidate: Candidate) -> bool:
        """Whether the canary's baseline is not in service any more: its arms then compare with nothing."""
        arm = candidate.checkpoint.baseline.get("arm") if candidate.checkpoint is not None else None
        if arm is None:
            return False
        now = implementation_of(self._book.in_service(candidate.app_id, candidate.component_id))
        return bool(arm["implementation"] != now)

    def _best(self, app_id: str, component_id: str, spec_hash: str, now: Mapping[str, Any]) -> dict[str, float | None]:
        arms = [
            one.checkpoint.baseline["arm"]["best"]
            for one in self._book.candidates(app_id, component_id)
            if one.spec_hash == spec_hash and one.checkpoint is not None and "arm" in one.checkpoint.baseline
        ]
        return {
            name: min((arm[name] for arm in (*arms, now) if arm[name] is not None), default=None) for name in _FIGURES
        }


def implementation_of(in_service: Candidate | None) -> str:
    """What is in service, in the words of X-UHLP-Implementation."""
    return MODEL if in_service is None else f"jit@v{in_service.version}"


def _figures(window: Mapping[str, Any]) -> dict[str, Any]:
    requests = window["count"]
    if requests < _LEAST_REQUESTS:
        return {"requests": requests, **dict.fromkeys(_FIGURES)}
    return {
        "requests": requests,
        "p50Ms": window["latencyMs"]["p50"],
        "p95Ms": window["latencyMs"]["p95"],
        "costUsd": window["costUsd"] / requests,
    }


def _tolerance_left(now: Mapping[str, Any], best: Mapping[str, float | None], tolerance: float) -> float:
    """What the candidate may be worse than the baseline now, so that it is at most `tolerance` worse than the best.

    Never below 0: a candidate that is as good as what is in service is always good enough.
    """
    left = tolerance
    for name in _FIGURES:
        known = best[name]
        if known is not None and now[name]:
            left = min(left, (1 + tolerance) * known / float(now[name]) - 1)
    return max(0.0, left)
