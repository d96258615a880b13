"""AlertWatch: conditions that are no decision, told once when they begin.

Each cycle looks at how things are and compares with what was so before; a condition that ended and comes back is told
again. What stands now is shown in the overview of evolution.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from uhlp.evolution.book import CandidateBook
from uhlp.evolution.governor import SafetyGovernor
from uhlp.evolution.notifications import Alert, Notification, Notifications
from uhlp.llm import Budgets
from uhlp.llm.usage import CODER, SERVE
from uhlp.metrics.windows import Windows
from uhlp.registry.application_registry import ApplicationRegistry
from uhlp.registry.snapshot_store import AppStatus

_MODEL_WINDOW_S = 300.0
_UNANSWERED = 2
_UNHEALTHY = frozenset({AppStatus.DEGRADED, AppStatus.ERROR})


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is so now. Two are the same while event, place and `of` are."""

    event: Alert
    reason: str = field(compare=False)
    app_id: str | None = None
    component_id: str | None = None
    candidate_id: str | None = None
    of: str = ""
    evidence: dict[str, Any] = field(default_factory=dict, compare=False)


class AlertWatch:
    """Watches rollbacks, budgets, ledger, applications, and the model behind every handler in service (I6)."""

    def __init__(
        self,
        *,
        notifications: Notifications,
        book: CandidateBook,
        governor: SafetyGovernor,
        budgets: Budgets,
        app_registry: ApplicationRegistry,
        windows: Windows,
        sandbox_problems: Callable[[str], Sequence[str]],
    ) -> None:
        self._sandbox_problems = sandbox_problems
        self._notifications = notifications
        self._book = book
        self._governor = governor
        self._budgets = budgets
        self._registry = app_registry
        self._windows = windows
        self._standing: dict[Condition, Notification] = {}

    async def run_cycle(self) -> None:
        """Tell of every condition that was not there at the last cycle."""
        found = [*self._ledger(), *[one async for one in self._applications()], *self._budgets_spent(), *self._models()]
        before, self._standing = self._standing, {}
        for one in found:
            told = before.get(one) or self._notifications.alert(
                one.event, reason=one.reason, app_id=one.app_id, component_id=one.component_id,
                candidate_id=one.candidate_id, evidence=one.evidence,
            )  # fmt: skip
            self._standing[one] = told

    def standing(self) -> list[dict[str, Any]]:
        """The conditions that hold, as they were told; the oldest first."""
        return [told.to_dict() for told in sorted(self._standing.values(), key=lambda told: told.ts)]

    def _ledger(self) -> Iterator[Condition]:
        for problem in self._book.problems:
            yield Condition(Alert.LEDGER_MISMATCH, f"{problem.what}: {problem.why}", of=problem.what)

    async def _applications(self) -> AsyncIterator[Condition]:
        for app_id in self._registry.known_app_ids():
            status, details = await self._registry.get_application_status(app_id)
            problems = self._sandbox_problems(app_id)
            if status in _UNHEALTHY:
                reason = f"{status}: {details.get('message', 'its definition cannot be served')}"
                yield Condition(Alert.APPLICATION_DEGRADED, reason, app_id, of="definition")
            if problems:
                yield Condition(Alert.APPLICATION_DEGRADED, f"DEGRADED: {'; '.join(problems)}", app_id, of="sandboxes")
            if (frozen := self._governor.frozen(app_id)) is not None:
                yield Condition(Alert.FROZEN, frozen, app_id)

    def _budgets_spent(self) -> Iterator[Condition]:
        for app_id in self._registry.app_ids():
            budget = self._registry.snapshot(app_id).definition.llm.budget
            for purpose in (SERVE, CODER):
                refusal = self._budgets.refusal(app_id, budget, purpose=purpose)
                if refusal is not None:
                    of = str(refusal.details["budget"])
                    yield Condition(
                        Alert.BUDGET_EXHAUSTED,
                        refusal.message,
                        None if of == "evolution" else app_id,
                        of=f"{of} {purpose}",
                        evidence=dict(refusal.details),
                    )

    def _models(self) -> Iterator[Condition]:
        """Handlers whose rollback would lead to a model that does not answer. They go on serving."""
        for one in self._book.active():
            if not one.is_serving:
                continue
            unanswered = self._governor.unanswered_checks(one.id)
            window = self._windows.window(one.app_id, one.component_id, _MODEL_WINDOW_S, handler="llm").as_dict()
            failed, asked = window["errors"], window["count"]
            if unanswered < _UNANSWERED and not (asked and failed == asked):
                continue
            reason = (
                f"The model behind the handler in service does not answer: {failed} of {asked} requests failed in "
                f"{_MODEL_WINDOW_S / 60:.0f} minutes, and the last {unanswered} checks. Rolling back would help nobody."
            )
            evidence = {"failed": failed, "asked": asked, "uncheckedInARow": unanswered}
            yield Condition(Alert.ROLLBACK_TARGET_DOWN, reason, one.app_id, one.component_id, one.id, evidence=evidence)
