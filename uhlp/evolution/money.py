"""Money: what models took, what handlers save, what compiling would bring; the same for REST, CLI and panel."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict
from itertools import islice
from typing import Any

from uhlp.evolution.audit_debt import AuditDebt
from uhlp.evolution.book import CandidateBook
from uhlp.evolution.candidate import Candidate, CandidateState
from uhlp.evolution.config import ConfigInForce
from uhlp.evolution.discoveries import Discoveries
from uhlp.evolution.savings import balance_of, baseline_of, days_of, has_priced_baseline, measured
from uhlp.evolution.store import EvolutionStore
from uhlp.evolution.usage_store import NO_CANDIDATE, UsageStore, UseRow
from uhlp.llm import Budgets
from uhlp.llm.usage import EVOLUTION, SERVED, Use, by_kind, date_of
from uhlp.models.definition import HandlerType
from uhlp.optimization.break_even import PerCall
from uhlp.registry.application_registry import ApplicationRegistry

S = CandidateState

_CANDIDATES_SHOWN = 50


class Money:
    """Reads only; what it says rests on the usage table, the ledger and the present windows."""

    def __init__(
        self,
        *,
        usage: UsageStore,
        budgets: Budgets,
        audit_debt: AuditDebt,
        discoveries: Discoveries,
        book: CandidateBook,
        store: EvolutionStore,
        app_registry: ApplicationRegistry,
        config: ConfigInForce,
    ) -> None:
        self._usage = usage
        self._budgets = budgets
        self._audit_debt = audit_debt
        self._discoveries = discoveries
        self._book = book
        self._store = store
        self._registry = app_registry
        self._config = config

    # -- what models took

    async def usage(self, app_id: str) -> dict[str, Any]:
        """{day, today, total, components: {id: {today, total}}, budget}: model calls, tokens, dollars and seconds, in
        all and by purpose. Raises AppNotFound."""
        definition = self._registry.snapshot(app_id).definition
        rows = await self._usage.rows(app_id=app_id, candidate_id=NO_CANDIDATE)  # candidates are in no model call's row
        today = self._budgets.usage.day
        components: dict[str, list[UseRow]] = defaultdict(list)
        for row in rows:
            components[row[0].component_id].append(row)
        budget = definition.llm.budget
        refusal = self._budgets.refusal(app_id, budget, purpose="serve")
        return {
            "appId": app_id,
            "day": date_of(today),
            **_today_and_total(rows, today),
            "components": {name: _today_and_total(found, today) for name, found in sorted(components.items())},
            "budget": {
                "usdPerDay": budget.usd_per_day,
                "tokensPerDay": budget.tokens_per_day,
                "isSpent": refusal is not None,
            },
        }

    def budgets(self) -> dict[str, Any]:
        """What evolution may still spend today, all applications together."""
        return {
            "day": date_of(self._budgets.usage.day),
            "usdPerDay": self._config.now.limits.usd_per_day,
            "spentUsd": self._budgets.evolution_spent_usd,
            "leftUsd": self._budgets.evolution_left_usd,
        }

    # -- what handlers save

    async def savings(self, app_id: str, days: int = 7) -> dict[str, Any]:
        """{day, today, total, days, components: {id: {today, total, days, candidates}}}: saved, spent and net.

        `days` are the newest so many (up to 35) in which anything happened, the newest first; `before` of a candidate
        is what a call took of the model before it; of those that served, the newest fifty of a component are shown.
        Raises AppNotFound.
        """
        self._registry.snapshot(app_id)
        rows = await self._usage.rows(app_id=app_id)
        today = self._budgets.usage.day
        by_candidate: dict[str, list[UseRow]] = defaultdict(list)
        for row in rows:
            by_candidate[row[0].candidate_id].append(row)
        served = [one for one in self._book.candidates(app_id) if one.id in by_candidate]
        baselines = {one.id: await self._baseline(one) for one in served}
        names = dict.fromkeys(key.component_id for key, _use in rows)
        components = {}
        for component_id in sorted(names):
            own = [row for row in rows if row[0].component_id == component_id]
            calls = [row for row in own if row[0].candidate_id == NO_CANDIDATE]
            per_second = self.usd_per_second_saved(app_id, component_id)
            candidates = [
                {
                    "candidateId": one.id, "state": one.state, "version": one.version, "measured": figures,
                    "before": None if (before := baselines.get(one.id)) is None else asdict(before),
                }
                for one in islice((one for one in served if one.component_id == component_id), _CANDIDATES_SHOWN)
                if (figures := measured(one, calls + by_candidate[one.id], baselines[one.id], per_second)) is not None
            ]  # fmt: skip
            components[component_id] = {
                **_balances(own, baselines, per_second, today),
                "days": days_of(own, baselines, per_second, first_day=today - days + 1),
                "candidates": candidates,
            }
        return {
            "appId": app_id,
            "day": date_of(today),
            "today": _added(one["today"] for one in components.values()),
            "total": _added(one["total"] for one in components.values()),
            "days": _added_days(one["days"] for one in components.values()),
            "components": components,
        }

    async def break_even(self, candidate: Candidate) -> dict[str, Any]:
        """{expected, rule, measured} of a candidate: what was known at its discovery, and what it shows in service."""
        known = await self._discovered(candidate.id)
        place = {"app_id": candidate.app_id, "component_id": candidate.component_id}
        rows = [
            row for one in (candidate.id, NO_CANDIDATE) for row in await self._usage.rows(**place, candidate_id=one)
        ]
        baseline = baseline_of(candidate, known)
        per_second = self.usd_per_second_saved(candidate.app_id, candidate.component_id)
        return {
            "expected": known.get("expected"),
            "rule": known.get("rule"),
            "measured": measured(candidate, rows, baseline, per_second),
        }

    def usd_per_second_saved(self, app_id: str, component_id: str) -> float:
        """What a second less of waiting is worth for this component."""
        own = None
        if app_id in self._registry.app_ids():
            component = self._registry.snapshot(app_id).components.get(component_id)
            own = component.definition.optimization.usd_per_second_saved if component is not None else None
        return self._config.now.usd_per_second_saved if own is None else own

    # -- what compiling would bring

    async def recommendations(self, app_id: str | None = None) -> list[dict[str, Any]]:
        """What a person may start, the one worth most first: candidates that wait for approval, and what rules asked
        for and was held back."""
        listed = []
        for one in self._book.candidates(app_id, state=S.DISCOVERED):
            if one.approval_required and one.approved_by is None:
                known = await self._discovered(one.id)
                listed.append({
                    "appId": one.app_id, "componentId": one.component_id, "candidateId": one.id,
                    "status": "waits_for_approval", "reason": one.reason, "since": one.created_at,
                    "rule": known.get("rule"), "expected": known.get("expected"),
                    "start": f"/candidates/{one.id}/approve",
                })  # fmt: skip
        for held in self._discoveries.held():
            place_app, place_component = held.wish.place
            if app_id in (None, place_app) and self._book.current(place_app, place_component) is None:
                listed.append({
                    "appId": place_app, "componentId": place_component, "candidateId": None,
                    "status": held.status, "reason": f"{held.wish.discovery.reason}; {held.why}", "since": held.since,
                    "rule": dict(held.wish.discovery.rule) or None,
                    "expected": held.wish.expected.to_dict() if held.wish.expected is not None else None,
                    "start": f"/apps/{place_app}/components/{place_component}/optimize",
                })  # fmt: skip
        return sorted(listed, key=_worth, reverse=True)

    async def lines(self, app_id: str, component_id: str) -> list[str]:
        """What `uhlp why` says of money: what holds a compilation, what it would bring, what a handler has brought."""
        app = self._registry.snapshot(app_id)
        component = app.components[component_id]
        current = self._book.current(app_id, component_id)
        lines = []
        if current is not None:
            told = await self.break_even(current)
            if (figures := told["measured"] or told["expected"]) is not None:
                lines.append(f"Break-even: {figures['words']}.")
            unpaid = self._audit_debt.unpaid(app_id, component_id)
            if unpaid and current.is_serving and self._audit_debt.cannot_pay(app):
                allowed = component.definition.optimization.max_wrong_answers
                lines.append(
                    f"{unpaid} of its answers could not be checked today for want of budget; after {allowed} the model "
                    "answers until the day turns (UTC)."
                )
        elif component.definition.handler_type is HandlerType.LLM:
            held = self._discoveries.held_one(app_id, component_id)
            if held is not None:
                lines.append(f"Its rule asks for a handler, {held.status.replace('_', ' ')}: {held.why}.")
            elif (expected := await self._discoveries.expected(app_id, component_id)) is not None and expected.model:
                lines.append(f"Break-even: {expected.balance.describe()}.")
            mode, budget = component.definition.optimization.mode, app.definition.llm.budget
            if mode == "auto" and not self._budgets.has_money_limit(budget):
                lines.append(
                    "Its rules only recommend, because no budget in money is set: evolution.limits.usd_per_day, or "
                    "llm.budget.usdPerDay of the application."
                )
        if (refusal := self._budgets.refusal(app_id, app.definition.llm.budget, purpose="coder")) is not None:
            lines.append(f"{refusal.message} It goes on tomorrow.")
        return lines

    async def _discovered(self, candidate_id: str) -> dict[str, Any]:
        """The evidence of its first ledger entry."""
        entries = await self._store.entries(candidate_id=candidate_id, limit=1)
        return dict(entries[0].entry.evidence) if entries else {}

    async def _baseline(self, candidate: Candidate) -> PerCall | None:
        known = {} if has_priced_baseline(candidate) else await self._discovered(candidate.id)
        return baseline_of(candidate, known)


def _today_and_total(rows: Iterable[UseRow], today: int) -> dict[str, Any]:
    calls = [row for row in rows if row[0].kind not in SERVED]
    return {"today": _purposes(row for row in calls if row[0].day == today), "total": _purposes(calls)}


def _purposes(rows: Iterable[UseRow]) -> dict[str, Any]:
    rows = list(rows)
    evolution = Use.sum(use for key, use in rows if key.kind in EVOLUTION)
    return {
        **_use(Use.sum(use for _key, use in rows)),
        "evolutionUsd": evolution.usd,
        "byPurpose": {kind: _use(use) for kind, use in by_kind(rows)},
    }


def _use(use: Use) -> dict[str, Any]:
    return {
        "calls": use.calls,
        "refused": use.refused,
        "tokensIn": use.tokens_in,
        "tokensOut": use.tokens_out,
        "usd": use.usd,
        "unpricedCalls": use.unpriced,
        "seconds": use.seconds,
    }


def _balances(
    rows: list[UseRow], baselines: dict[str, PerCall | None], per_second: float, today: int
) -> dict[str, Any]:
    of_today = [row for row in rows if row[0].day == today]
    return {
        "usdPerSecondSaved": per_second,
        "today": balance_of(of_today, baselines, per_second),
        "total": balance_of(rows, baselines, per_second),
    }


def _added_days(components: Iterable[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The days of components as those of the application, the newest first."""
    days: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for listed in components:
        for one in listed:
            days[one["day"]].append({name: value for name, value in one.items() if name != "day"})
    return [{"day": day, **_added(days[day])} for day in sorted(days, reverse=True)]


def _added(balances: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Balances of components as one; of none: all zero."""
    total = balance_of((), {}, 0.0)
    for one in balances:
        for name, value in one.items():
            if isinstance(value, dict):
                total[name] = {key: total[name][key] + value[key] for key in value}
            else:
                total[name] += value
    return total


def _worth(one: dict[str, Any]) -> float:
    expected = one["expected"] or {}
    saving, cost = expected.get("horizonSavingUsd"), expected.get("compileUsd")
    return 0.0 if saving is None or cost is None else float(saving - cost)
