"""Rollout: which implementation answers one request (OpenFeature's words for the reason)."""

from dataclasses import replace
from hashlib import blake2b

from uhlp.errors import ExecutionFailed
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.rollouts import LiveHandler, Rollouts
from uhlp.evolution.statistics import Assigned, CanaryTests, Outcome
from uhlp.execution import HandlerImplementation, PromptImplementation
from uhlp.hot_record import hot_record
from uhlp.llm.usage import DEOPTIMISED, SERVED_BY_HANDLER, SERVED_BY_MODEL, SERVED_BY_PROMPT
from uhlp.models.definition import HandlerType
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.routing.request import Reason, RoutedRequest
from uhlp.sandbox.driver import Group
from uhlp.strict_json import canonical

PREVIOUS = "previous"
"""In the place of a tag: the prompt that stood under `stable` before the one that stands there now."""


@hot_record()
class Choice:
    """The implementation for one request; `live` is the handler it belongs to, None for a prompt or an owner's code.

    `fallback` is what answers where that one does not: the model, for a prompt that is tried or has been shortened the
    prompt before it; None where there is nothing else. `prompt` is the shorter prompt in full service that the model is
    asked by. `beside` are those that are measured on this request without answering it. In a canary the request is
    `assigned` to one of its arms; `finish` must be told what became of it.
    """

    implementation: PromptImplementation | HandlerImplementation
    label: str
    reason: Reason
    group: Group = "serving"
    timeout_s: float | None = None
    live: LiveHandler | None = None
    fallback: PromptImplementation | None = None
    prompt: LiveHandler | None = None
    beside: tuple[LiveHandler, ...] = ()
    canary: CanaryTests | None = None
    assigned: Assigned | None = None

    @property
    def is_by_prompt(self) -> bool:
        return isinstance(self.implementation, PromptImplementation)

    def counted_as(self, *, is_deoptimised: bool, is_cached: bool) -> tuple[str, str]:
        """As what the request is counted (`llm.usage`), and for which candidate, "" for none. What a cache has answered
        is no prompt's merit.
        """
        whose = self.live or (self.prompt if self.is_by_prompt else None)
        candidate_id = "" if whose is None else whose.candidate_id
        if is_deoptimised:
            return DEOPTIMISED, candidate_id
        if not self.is_by_prompt:
            return SERVED_BY_HANDLER, candidate_id
        return (SERVED_BY_MODEL, "") if whose is None or is_cached else (SERVED_BY_PROMPT, candidate_id)

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
        prompt = live.prompt if live.prompt is not None and _stands(live.prompt, component) else None
        void = None
        if baseline is not None and baseline.spec_hash != component.spec_hash:  # the daemon's next cycle ends it
            void, baseline = baseline.implementation.artifact.sha256, None
        if candidate is not None and not _stands(candidate, component):
            void, candidate = void or candidate.implementation.artifact.sha256, None
        model = self._model(request, prompt)
        if baseline is None and candidate is None:
            return self._as_defined(request, model, void)
        if candidate is not None and candidate.weight > 0.0 and not self._is_suspended(request, candidate):
            return self._with_canary(request, model, baseline, candidate)
        if candidate is not None and candidate.weight > 0.0:  # suspended: it runs beside, as in shadow
            return self._without_candidate(request, model, baseline, candidate, "DISABLED")
        return self._without_candidate(request, model, baseline, candidate, "STATIC")

    def _with_canary(
        self, request: RoutedRequest, model: "_Model", baseline: LiveHandler | None, candidate: LiveHandler
    ) -> Choice:
        """Draw between the candidate and what is in service; every draw is noted where arms are compared."""
        if candidate.weight >= 1.0:
            return _live(candidate, model, "STATIC" if candidate.is_promoted else "SPLIT")
        unit = _unit_of(request)
        is_candidate = _place_of(unit, candidate.salt) < candidate.weight
        if is_candidate:
            choice = _live(candidate, model, "SPLIT")
        else:
            choice = self._without_candidate(request, model, baseline, candidate, "SPLIT")
        if candidate.canary is None:
            return choice
        assigned = candidate.canary.assign(unit, is_candidate=is_candidate, weight=candidate.weight)
        return choice if assigned is None else replace(choice, canary=candidate.canary, assigned=assigned)

    def _without_candidate(
        self,
        request: RoutedRequest,
        model: "_Model",
        baseline: LiveHandler | None,
        candidate: LiveHandler | None,
        reason: Reason,
    ) -> Choice:
        """What is in service answers; a candidate runs beside it."""
        beside = () if candidate is None else (candidate,)
        if baseline is None:
            return model.choice(request.component, reason, beside)
        if self._is_suspended(request, baseline):
            return model.choice(request.component, "DISABLED", (baseline, *beside))
        return _live(baseline, model, reason, beside)

    def _model(self, request: RoutedRequest, prompt: LiveHandler | None) -> "_Model":
        """By which prompt the model is asked now."""
        defined = request.component.prompt_artifact
        if prompt is not None and isinstance(prompt.implementation, PromptImplementation):
            before = PromptImplementation(prompt.previous, PREVIOUS) if prompt.previous is not None else None
            if before is not None and self._is_suspended(request, prompt):
                return _Model(before, is_suspended=True)
            return _Model(prompt.implementation, before, prompt)
        if defined is None:
            return _Model(None)
        return _Model(PromptImplementation(self._rollouts.instead_of(request.app.app_id, defined.sha256) or defined))

    def _as_defined(self, request: RoutedRequest, model: "_Model", void: str | None) -> Choice:
        """No candidate takes part: the definition alone says what runs. `void` is code that it must not be."""
        component = request.component
        artifact = component.handler_artifact
        if component.definition.handler_type is not HandlerType.JIT or artifact is None:
            return model.choice(component, "STATIC")
        if artifact.sha256 == void or self._rollouts.is_barred(request.app.app_id, artifact.sha256):
            return model.choice(component, "DISABLED")
        version = component.handler_version
        return Choice(
            HandlerImplementation(version=version, artifact=artifact, function=component.handler_function),
            f"jit@v{version}" if version is not None else "jit@own",
            "STATIC",
            fallback=model.asked_by,
            prompt=model.prompt,
        )

    def _is_suspended(self, request: RoutedRequest, handler: LiveHandler) -> bool:
        return self._audit_debt.is_suspended(request.app, request.component, handler)


@hot_record()
class _Model:
    """How the model is asked: by what, by what else where that fails, and whose shorter prompt it is."""

    asked_by: PromptImplementation | None
    fallback: PromptImplementation | None = None
    prompt: LiveHandler | None = None
    is_suspended: bool = False

    def choice(self, component: ComponentSnapshot, reason: Reason, beside: tuple[LiveHandler, ...] = ()) -> Choice:
        """The model answers. Raises ExecutionFailed where it cannot."""
        if self.asked_by is None:
            name = component.definition.component_id
            raise ExecutionFailed(f"Nothing can answer for {name}: it has no prompt, and no handler that may serve.")
        return Choice(
            self.asked_by, self.asked_by.label, "DISABLED" if self.is_suspended else reason, beside=beside,
            fallback=self.fallback, prompt=self.prompt,
        )  # fmt: skip


def _live(live: LiveHandler, model: _Model, reason: Reason, beside: tuple[LiveHandler, ...] = ()) -> Choice:
    group: Group = "serving" if live.is_promoted else "trial"
    return Choice(
        live.implementation, live.label, reason, group, live.timeout_s, live, model.asked_by, model.prompt, beside
    )


def _stands(live: LiveHandler, component: ComponentSnapshot) -> bool:
    """Whether it is about the component as it is now; where not, the daemon's next cycle ends it."""
    if live.spec_hash != component.spec_hash:
        return False
    if live.previous is None or component.prompt_artifact is None:
        return True
    now = component.prompt_artifact.sha256
    return now == live.previous.sha256 or (live.is_promoted and now == live.implementation.artifact.sha256)


def _unit_of(request: RoutedRequest) -> str:
    """What stays on one arm: the session, else the user, else the input."""
    user_id = request.user_info.get("userId") if request.user_info else None
    return str(request.session_id or user_id or canonical(request.input).decode())


def _place_of(unit: str, salt: bytes) -> float:
    """A fixed place in [0, 1), salted by candidate: no one is always first."""
    return int.from_bytes(blake2b(unit.encode(), key=salt, digest_size=8).digest()) / 2**64
