"""AuditDebt: what happens when a handler's answers are due for a check that nobody can pay.

An unpaid audit is no score. It is kept, nothing advances while it is open, and it is made up when there is money again
(`LiveEvidence.unasked`). Meanwhile the handler answers on for as many unpaid audits as its owner allows wrong answers
(`maxWrongAnswers`; before epsilon is proven, less those found wrong already): each of them may have been one. Then the
model answers instead, and the handler runs beside it as in shadow, which costs nothing while they agree. It answers
again when the day turns (UTC) or the budget grows. Where the model cannot be paid either, taking the handler out would
leave callers with nothing: it goes on, counted and logged.
"""

import structlog

from uhlp.evolution.rollouts import LiveHandler
from uhlp.llm import Budgets
from uhlp.llm.usage import AUDIT, REFERENCE, SERVE
from uhlp.registry.snapshot import AppSnapshot, ComponentSnapshot

log = structlog.get_logger(__name__)


class AuditDebt:
    """Counts in the usage book, so that a restart forgets no unpaid audit of the day."""

    def __init__(self, *, budgets: Budgets) -> None:
        self._budgets = budgets

    def cannot_pay(self, app: AppSnapshot) -> bool:
        """Whether an audit of this application would be refused now."""
        return self._budgets.refusal(app.app_id, app.definition.llm.budget, purpose=AUDIT) is not None

    def owe(self, app: AppSnapshot, component: ComponentSnapshot) -> None:
        """Count one audit that was due and was not asked for."""
        component_id = component.definition.component_id
        if self.unpaid(app.app_id, component_id) == 0:
            log.warning("audits_unpaid", app_id=app.app_id, component_id=component_id)
        self._budgets.usage.refused(app.app_id, component_id, AUDIT)

    def unpaid(self, app_id: str, component_id: str) -> int:
        """Today's audits, and second opinions on them, that were refused for want of budget."""
        of = self._budgets.usage.of_component
        return of(app_id, component_id, AUDIT).refused + of(app_id, component_id, REFERENCE).refused

    def is_suspended(self, app: AppSnapshot, component: ComponentSnapshot, live: LiveHandler) -> bool:
        """Whether the model answers in the handler's place until audits can be paid again. Memory only."""
        if self.unpaid(app.app_id, component.definition.component_id) < live.may_owe:
            return False
        budget = app.definition.llm.budget
        return self.cannot_pay(app) and self._budgets.refusal(app.app_id, budget, purpose=SERVE) is None
