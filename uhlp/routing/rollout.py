"""Rollout: which implementation answers one request (OpenFeature's words for the reason)."""

from dataclasses import dataclass, replace
from hashlib import blake2b

from uhlp.errors import ExecutionFailed
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.rollouts import LiveHandler, Rollouts
from uhlp.evolution.statistics import Assigned, CanaryTests, Outcome
from uhlp.execution import HandlerImplementation, PromptImplementation
from uhlp.models.definition import HandlerType
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.routing.request import Reason, RoutedRequest
from uhlp.sandbox.driver import Group
from uhlp.strict_json import canonical

_STABLE = "prompt@stable"


@dataclass(frozen=True, slots=True)
class Choice:
    """The implementation for one request; `live` is the handler it belongs to, None for a prompt or an owner's code.

    `beside` are the handlers that are measured on this request without answering it. In a canary the request is
    `assigned` to one of its arms; `finish` must be told what became of it.
    """

    implementation: PromptImplementation | HandlerImplementation
    label: str
    reason: Reason
    group: Group = "serving"
    timeout_s: float | None = None
    live: LiveHandler | None = None
    beside: tuple[LiveHandler, ...] = ()
    canary: CanaryTests | None = None
    assigned: Assigned | None = None

    def finish(self, outcome: Outcome | None) -> None:
        """What became of the request, None if nobody knows; the first word counts."""
        if self.canary is not None and self.assigned is not None:
            self.canary.finish(self.assigned, outcome)


class Rollout:
    """Chooses between the prompt, the handler in service and the candidate; reads only memory."""

    def __init__(self, *, rollouts: Rollouts, audit_debt: AuditDebt) -> None:
        self._rollouts = rollouts
        self._audit_debt = audit_debt

    def choose(self, request: RoutedRequest) -> Choice:
        """Raises ExecutionFailed when nothing may answer."""
        component = request.component
        live = self._rollouts.in_traffic(request.app.app_id, component.definition.component_id)
        baseline, candidate = live.baseline, live.candidate
        void = None
        if baseline is not None and baseline.spec_hash != component.spec_hash:  # the daemon's next cycle ends it
            void, baseline = baseline.implementation.artifact.sha256, None
        if candidate is not None and candidate.spec_hash != component.spec_hash:
            void, candidate = void or candidate.implementation.artifact.sha256, None
        if baseline is None and candidate is None:
            return self._as_defined(request, void)
        if candidate is not None and candidate.weight > 0.0 and not self._is_suspended(request, candidate):
            return self._with_canary(request, baseline, candidate)
        if candidate is not None and candidate.weight > 0.0:  # suspended: it runs beside, as in shadow
            return self._without_candidate(request, baseline, candidate, "DISABLED")
        return self._without_candidate(request, baseline, candidate, "STATIC")

    def _with_canary(self, request: RoutedRequest, baseline: LiveHandler | None, candidate: LiveHandler) -> Choice:
        """Draw between the candidate and what is in service; every draw is noted where arms are compared."""
        if candidate.weight >= 1.0:
            return _handler(candidate, "STATIC" if candidate.is_promoted else "SPLIT")
        unit = _unit_of(request)
        is_candidate = _place_of(unit, candidate.salt) < candidate.weight
        if is_candidate:
            choice = _handler(candidate, "SPLIT")
        else:
            choice = self._without_candidate(request, baseline, candidate, "SPLIT")
        if candidate.canary is None:
            return choice
        assigned = candidate.canary.assign(unit, is_candidate=is_candidate, weight=candidate.weight)
        return choice if assigned is None else replace(choice, canary=candidate.canary, assigned=assigned)

    def _without_candidate(
        self, request: RoutedRequest, baseline: LiveHandler | None, candidate: LiveHandler | None, reason: Reason
    ) -> Choice:
        """What is in service answers; a candidate runs beside it."""
        beside = () if candidate is None else (candidate,)
        if baseline is None:
            return Choice(_prompt(request.component), _STABLE, reason, beside=beside)
        if self._is_suspended(request, baseline):
            return Choice(_prompt(request.component), _STABLE, "DISABLED", beside=(baseline, *beside))
        return _handler(baseline, reason, beside)

    def _as_defined(self, request: RoutedRequest, void: str | None) -> Choice:
        """No candidate takes part: the definition alone says what runs. `void` is code that it must not be."""
        component = request.component
        artifact = component.handler_artifact
        if component.definition.handler_type is not HandlerType.JIT or artifact is None:
            return Choice(_prompt(component), _STABLE, "STATIC")
        if artifact.sha256 == void or self._rollouts.is_barred(request.app.app_id, artifact.sha256):
            return Choice(_prompt(component), _STABLE, "DISABLED")
        version = component.handler_version
        return Choice(
            HandlerImplementation(version=version, artifact=artifact, function=component.handler_function),
            f"jit@v{version}" if version is not None else "jit@own",
            "STATIC",
        )

    def _is_suspended(self, request: RoutedRequest, handler: LiveHandler) -> bool:
        return self._audit_debt.is_suspended(request.app, request.component, handler)


def _handler(handler: LiveHandler, reason: Reason, beside: tuple[LiveHandler, ...] = ()) -> Choice:
    group: Group = "serving" if handler.is_promoted else "trial"
    return Choice(handler.implementation, f"jit@{handler.label}", reason, group, handler.timeout_s, handler, beside)


def _prompt(component: ComponentSnapshot) -> PromptImplementation:
    if component.prompt_artifact is None:
        name = component.definition.component_id
        raise ExecutionFailed(f"Nothing can answer for {name}: it has no prompt, and no handler that may serve.")
    return PromptImplementation(tag="stable", artifact=component.prompt_artifact)


def _unit_of(request: RoutedRequest) -> str:
    """What stays on one arm: the session, else the user, else the input."""
    user_id = request.user_info.get("userId") if request.user_info else None
    return str(request.session_id or user_id or canonical(request.input).decode())


def _place_of(unit: str, salt: bytes) -> float:
    """A fixed place in [0, 1), salted by candidate: no one is always first."""
    return int.from_bytes(blake2b(unit.encode(), key=salt, digest_size=8).digest()) / 2**64
