"""What serves now: the table that routing reads, rebuilt from the candidates at start.

A rollback is a pointer switch here: it needs neither the model nor the candidate.
"""

from dataclasses import dataclass

from uhlp.evolution.classes import ClassGuard
from uhlp.execution import HandlerImplementation


@dataclass(frozen=True, slots=True)
class LiveHandler:
    """A candidate's handler in live traffic.

    `weight` is the share of requests it answers: 0 in shadow, 1 once promoted. `audit_share` is the share of its own
    answers that the reference checks. `timeout_s` is its own deadline, None for the router's default. It answers only
    for the specification it was made for (`spec_hash`), and where it has a `class_guard` only in classes it is trusted
    with. After `may_owe` audits that nobody could pay it is suspended.
    """

    candidate_id: str
    app_id: str
    component_id: str
    implementation: HandlerImplementation
    weight: float
    salt: bytes
    audit_share: float
    spec_hash: str
    timeout_s: float | None = None
    is_promoted: bool = False
    class_guard: ClassGuard | None = None
    may_owe: int = 10

    @property
    def label(self) -> str:
        version = self.implementation.version
        return self.candidate_id if version is None else f"v{version}"


class Rollouts:
    """Live handlers by component, and the code that may never serve again."""

    def __init__(self) -> None:
        self._live: dict[tuple[str, str], LiveHandler] = {}
        self._barred: set[tuple[str, str]] = set()

    def live(self, app_id: str, component_id: str) -> LiveHandler | None:
        """The handler that takes part in this component's traffic, if any."""
        return self._live.get((app_id, component_id))

    def put(self, handler: LiveHandler) -> None:
        self._live[(handler.app_id, handler.component_id)] = handler

    def remove(self, app_id: str, component_id: str, candidate_id: str) -> None:
        """Take this candidate's handler out of traffic; another candidate's stays."""
        live = self._live.get((app_id, component_id))
        if live is not None and live.candidate_id == candidate_id:
            del self._live[(app_id, component_id)]

    def bar(self, app_id: str, code_sha: str) -> None:
        """This code never serves again in this application, whatever a definition points at."""
        self._barred.add((app_id, code_sha))

    def is_barred(self, app_id: str, code_sha: str) -> bool:
        return (app_id, code_sha) in self._barred
