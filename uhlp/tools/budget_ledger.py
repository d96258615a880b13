"""BudgetLedger: what each application has spent on models today (UTC), against its `llm.budget`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from uhlp.clock import Clock
from uhlp.errors import BudgetExhausted
from uhlp.models.definition import ModelBudget

DAY_S = 86_400

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Spent:
    tokens: int = 0
    usd: float = 0.0
    unpriced_calls: int = 0


class BudgetLedger:
    """Kept in memory: whoever stores it calls `spent` now and then, and `restore` after a start.

    A call is checked before it starts and counted when it is answered, so calls in flight together may overstep a
    budget by what they cost.
    """

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._day = self._today()
        self._applications: dict[str, _Spent] = {}

    def check(self, app_id: str, budget: ModelBudget) -> None:
        """Raise BudgetExhausted, with retry_after_s until midnight UTC, when a limit is reached."""
        spent = self._of_today().get(app_id, _Spent())
        for limit, used, unit in (
            (budget.tokens_per_day, spent.tokens, "tokens"),
            (budget.usd_per_day, spent.usd, "US dollars"),
        ):
            if limit is not None and used >= limit:
                raise BudgetExhausted(
                    f"Application '{app_id}' has spent its model budget of {limit:g} {unit} for today (UTC).",
                    details={"limit": limit, "spent": used, "unit": unit},
                    retry_after_s=DAY_S - self._clock.now() % DAY_S,
                )

    def add(self, app_id: str, *, tokens: int, cost_usd: float | None, budget: ModelBudget) -> None:
        """Count one answered call. Where no price is known it cannot count against a budget in dollars; that is
        logged once a day and application."""
        spent = self._of_today().setdefault(app_id, _Spent())
        spent.tokens += tokens
        if cost_usd is not None:
            spent.usd += cost_usd
            return
        spent.unpriced_calls += 1
        if spent.unpriced_calls == 1 and budget.usd_per_day is not None:
            log.warning("budget_without_price", app_id=app_id, usd_per_day=budget.usd_per_day)

    def spent(self) -> dict[str, Any]:
        """Today's account: {"day": "2026-01-31", "applications": {appId: {"tokens", "usd"}}}."""
        applications = self._of_today()
        return {
            "day": self._day,
            "applications": {name: {"tokens": one.tokens, "usd": one.usd} for name, one in applications.items()},
        }

    def restore(self, spent: Mapping[str, Any]) -> None:
        """Take over an account that `spent` gave; one of another day is over."""
        if spent.get("day") == self._today():
            applications = self._of_today()
            for name, one in spent["applications"].items():
                applications[name] = _Spent(tokens=one["tokens"], usd=one["usd"])

    def _of_today(self) -> dict[str, _Spent]:
        if (today := self._today()) != self._day:
            self._day, self._applications = today, {}
        return self._applications

    def _today(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).date().isoformat()
