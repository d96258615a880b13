"""TrafficSwitch: turns a candidate's state into what routing reads: weight, audit share, deadline, or nothing."""

from dataclasses import replace

from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.live_evidence import LiveEvidence
from uhlp.evolution.rollouts import LiveHandler, Rollouts
from uhlp.evolution.statistics import Verdict, audit_share, serve_and_check_share
from uhlp.execution import HandlerImplementation, Implementation, PromptImplementation
from uhlp.metrics.windows import Windows
from uhlp.prompts.overrides.override_set import STABLE
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot import Artifact

S = CandidateState
_HOUR_S = 3600.0
REPLACED = "replaced"
"""The cause of an end: another candidate took its place in service."""


class TrafficSwitch:
    """Writes the rollout table; memory only. `always_shadow` is a stress switch: every answer is audited."""

    def __init__(
        self,
        *,
        rollouts: Rollouts,
        app_registry: ApplicationRegistry,
        windows: Windows,
        config: ConfigInForce,
        always_shadow: bool = False,
    ) -> None:
        self._always_shadow = always_shadow
        self._rollouts = rollouts
        self._registry = app_registry
        self._windows = windows
        self._config = config

    def put(
        self, candidate: Candidate, implementation: Implementation, live: LiveEvidence, previous: Artifact | None
    ) -> None:
        """Let it take the part in traffic that its candidate's state gives it."""
        is_promoted = candidate.state is S.PROMOTED
        weight = 0.0
        if candidate.state is not S.SHADOW:
            weight = 1.0 if is_promoted else self._config.now.canary.share_at(candidate.canary_step)
        self._rollouts.put(
            LiveHandler(
                candidate_id=candidate.id,
                app_id=candidate.app_id,
                component_id=candidate.component_id,
                implementation=_named(implementation, candidate),
                weight=weight,
                salt=candidate.id.encode(),
                audit_share=self.audit_share(candidate, live),
                timeout_s=self._deadline_s(live),
                is_promoted=is_promoted,
                spec_hash=candidate.spec_hash,
                class_guard=live.classes.guard(),
                may_owe=self._may_owe(candidate, live),
                canary=live.canary,
                previous=previous,
            )
        )

    def _deadline_s(self, live: LiveEvidence) -> float | None:
        """Its own deadline; None while nothing is known of its latency. (The router keeps the model's share anyway.)"""
        if live.p99_ms is None:
            return None
        deadline = self._config.now.deadline
        return max(deadline.least_s, deadline.p99_factor * live.p99_ms / 1000)

    def take_out(self, candidate: Candidate, previous: Artifact | None = None) -> None:
        """Out of traffic, at once; the code of a candidate that is over never serves again. `previous`: the prompt that
        a shorter one had replaced."""
        self._rollouts.remove(candidate.app_id, candidate.component_id, candidate.id)
        if candidate.code_sha is None or candidate.is_open or candidate.is_serving:
            return
        if not candidate.is_prompt:
            self._rollouts.bar(candidate.app_id, candidate.code_sha)
        elif is_withdrawn(candidate) and previous is not None:
            self._rollouts.withdraw(candidate.app_id, candidate.code_sha, previous)

    def _may_owe(self, candidate: Candidate, live: LiveEvidence) -> int:
        """Unpaid audits until it is suspended; before epsilon is proven, those found wrong are taken off."""
        definition = self._registry.snapshot(candidate.app_id).components[candidate.component_id].definition
        allowed = definition.optimization.max_wrong_answers
        return allowed if live.account.verdict is Verdict.ACCEPT else max(0, allowed - live.audits.failures)

    def audit_share(self, candidate: Candidate, live: LiveEvidence) -> float:
        """Share of this candidate's answers that the reference checks, by its trust and its traffic."""
        if self._always_shadow:
            return 1.0
        definition = self._registry.snapshot(candidate.app_id).components[candidate.component_id].definition
        window = self._windows.window(
            candidate.app_id, candidate.component_id, _HOUR_S, handler="llm" if candidate.is_prompt else "jit"
        ).as_dict()
        floor = audit_share(definition.optimization.max_wrong_answers, window["count"] * 24)
        if candidate.trust == "serve-and-check":
            if live.account.verdict is not Verdict.ACCEPT:
                return 1.0  # `maxWrongAnswers` counts audited answers: until epsilon is proven every answer is audited
            return serve_and_check_share(live.account.proven, floor)
        return floor if candidate.state is S.PROMOTED else self._config.now.canary.audit_share


def is_withdrawn(candidate: Candidate) -> bool:
    """Whether a prompt that stood under `stable` must not stand there any more. One that a shorter one has replaced is
    what that one is built on.
    """
    was_in_service = candidate.is_prompt and candidate.version is not None
    return was_in_service and candidate.state is not S.PROMOTED and candidate.cause != REPLACED


def _named(implementation: Implementation, candidate: Candidate) -> Implementation:
    """With the name that answers carry: a version, or a tag."""
    if isinstance(implementation, HandlerImplementation):
        return replace(implementation, version=candidate.version)
    return PromptImplementation(implementation.artifact, STABLE if candidate.state is S.PROMOTED else candidate.id)
