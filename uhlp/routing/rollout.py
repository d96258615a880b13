"""Rollout: which implementation answers one request (OpenFeature's words for the reason)."""

from dataclasses import dataclass
from hashlib import blake2b

from uhlp.errors import ExecutionFailed
from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.rollouts import LiveHandler, Rollouts
from uhlp.execution import HandlerImplementation, PromptImplementation
from uhlp.models.definition import HandlerType
from uhlp.registry.snapshot import ComponentSnapshot
from uhlp.routing.request import Reason, RoutedRequest
from uhlp.sandbox.driver import Group
from uhlp.strict_json import canonical

_STABLE = "prompt@stable"


@dataclass(frozen=True, slots=True)
class Choice:
    """The implementation for one request; `live` is the candidate it belongs to, if any."""

    implementation: PromptImplementation | HandlerImplementation
    label: str
    reason: Reason
    group: Group = "serving"
    timeout_s: float | None = None
    live: LiveHandler | None = None


class Rollout:
    """Chooses between prompt, handler in service and candidate; reads only memory."""

    def __init__(self, *, rollouts: Rollouts, audit_debt: AuditDebt) -> None:
        self._rollouts = rollouts
        self._audit_debt = audit_debt

    def choose(self, request: RoutedRequest) -> Choice:
        """Raises ExecutionFailed when nothing may answer."""
        component = request.component
        live = self._rollouts.live(request.app.app_id, component.definition.component_id)
        stale = None
        if live is not None and live.spec_hash != component.spec_hash:  # the daemon voids it at its next cycle
            stale, live = live.implementation.artifact.sha256, None
        if live is not None:
            if live.weight > 0.0 and self._audit_debt.is_suspended(request.app, component, live):
                return Choice(_prompt(component), _STABLE, "DISABLED", live=live)
            if live.weight >= 1.0 or (live.weight > 0.0 and _share_of(request, live.salt) < live.weight):
                return Choice(
                    live.implementation,
                    f"jit@{live.label}",
                    "STATIC" if live.is_promoted else "SPLIT",
                    "serving" if live.is_promoted else "trial",
                    live.timeout_s,
                    live,
                )
            return Choice(_prompt(component), _STABLE, "SPLIT" if live.weight > 0.0 else "STATIC", live=live)
        artifact = component.handler_artifact
        if component.definition.handler_type is not HandlerType.JIT or artifact is None:
            return Choice(_prompt(component), _STABLE, "STATIC")
        if artifact.sha256 == stale or self._rollouts.is_barred(request.app.app_id, artifact.sha256):
            return Choice(_prompt(component), _STABLE, "DISABLED")
        version = component.handler_version
        return Choice(
            HandlerImplementation(version=version, artifact=artifact, function=component.handler_function),
            f"jit@v{version}" if version is not None else "jit@own",
            "STATIC",
        )


def _prompt(component: ComponentSnapshot) -> PromptImplementation:
    if component.prompt_artifact is None:
        name = component.definition.component_id
        raise ExecutionFailed(f"Nothing can answer for {name}: it has no prompt, and no handler that may serve.")
    return PromptImplementation(tag="stable", artifact=component.prompt_artifact)


def _share_of(request: RoutedRequest, salt: bytes) -> float:
    """A fixed place in [0, 1) by session, else user, else input; salted by candidate: no one is always first."""
    user_id = request.user_info.get("userId") if request.user_info else None
    key = request.session_id or user_id
    digest = blake2b(str(key).encode() if key else canonical(request.input), key=salt, digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
