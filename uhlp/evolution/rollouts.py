"""What serves now: the table that routing reads, rebuilt from the candidates at start.

A component has at most one handler in full service (its baseline), one shorter prompt there, and one candidate beside
them. A rollback is a pointer switch here: it needs neither the model nor the candidate.
"""

from dataclasses import dataclass, replace

from uhlp.evolution.classes import ClassGuard
from uhlp.evolution.statistics import CanaryTests
from uhlp.execution import Implementation, PromptImplementation
from uhlp.registry.snapshot import Artifact


@dataclass(frozen=True, slots=True)
class LiveHandler:
    """A candidate's handler, or its prompt, in live traffic.

    `weight` is the share of requests it answers: 0 in shadow, 1 once promoted. `audit_share` is the share of its own
    answers that the reference checks. `timeout_s` is its own deadline, None for the router's default. It answers only
    for the specification it was made for (`spec_hash`), and where it has a `class_guard` only in classes it is trusted
    with. After `may_owe` audits that nobody could pay it is suspended. `canary` compares the two arms while it answers
    a share. `previous` is the prompt that a shorter one is held against, and the way back from it; None for a handler.
    """

    candidate_id: str
    app_id: str
    component_id: str
    implementation: Implementation
    weight: float
    salt: bytes
    audit_share: float
    spec_hash: str
    timeout_s: float | None = None
    is_promoted: bool = False
    class_guard: ClassGuard | None = None
    may_owe: int = 10
    canary: CanaryTests | None = None
    previous: Artifact | None = None

    @property
    def is_prompt(self) -> bool:
        return isinstance(self.implementation, PromptImplementation)

    @property
    def label(self) -> str:
        """As X-UHLP-Implementation names it."""
        if isinstance(self.implementation, PromptImplementation):
            return self.implementation.label
        version = self.implementation.version
        return f"jit@{self.candidate_id}" if version is None else f"jit@v{version}"


@dataclass(frozen=True, slots=True)
class InTraffic:
    """What takes part in one component's traffic. Without a `baseline` the model is what a handler is held against.

    `prompt` is a shorter prompt in full service: what the model is asked by.
    """

    baseline: LiveHandler | None = None
    candidate: LiveHandler | None = None
    prompt: LiveHandler | None = None


_MODEL_ALONE = InTraffic()


class Rollouts:
    """Live handlers by component, and the code that may never serve again."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, str], InTraffic] = {}
        self._barred: set[tuple[str, str]] = set()
        self._withdrawn: dict[tuple[str, str], Artifact] = {}

    def in_traffic(self, app_id: str, component_id: str) -> InTraffic:
        """The handlers that take part in this component's traffic."""
        return self._live.get((app_id, component_id), _MODEL_ALONE)

    def put(self, handler: LiveHandler) -> None:
        """Let this one take its part; a promoted one takes the place of what was in service of its kind."""
        live = self._without(handler.app_id, handler.component_id, handler.candidate_id)
        if not handler.is_promoted:
            live = replace(live, candidate=handler)
        elif handler.is_prompt:
            live = replace(live, prompt=handler)
        else:
            live = replace(live, baseline=handler)
        self._live[(handler.app_id, handler.component_id)] = live

    def remove(self, app_id: str, component_id: str, candidate_id: str) -> None:
        """Take this candidate's handler out of traffic; another candidate's stays."""
        left = self._without(app_id, component_id, candidate_id)
        if left == _MODEL_ALONE:
            self._live.pop((app_id, component_id), None)
        else:
            self._live[(app_id, component_id)] = left

    def _without(self, app_id: str, component_id: str, candidate_id: str) -> InTraffic:
        live = self.in_traffic(app_id, component_id)
        left = (
            one if one is None or one.candidate_id != candidate_id else None
            for one in (live.baseline, live.candidate, live.prompt)
        )
        return InTraffic(*left)

    def bar(self, app_id: str, code_sha: str) -> None:
        """This code never serves again in this application, whatever a definition points at."""
        self._barred.add((app_id, code_sha))

    def withdraw(self, app_id: str, prompt_sha: str, previous: Artifact) -> None:
        """Wherever this prompt stands under `stable`, the one before it is asked: the commit may still be to come."""
        self._withdrawn[(app_id, prompt_sha)] = previous

    def instead_of(self, app_id: str, prompt_sha: str) -> Artifact | None:
        """The prompt to ask by where this one was withdrawn; None where it was not."""
        return self._withdrawn.get((app_id, prompt_sha))

    def is_barred(self, app_id: str, code_sha: str) -> bool:
        return (app_id, code_sha) in self._barred
