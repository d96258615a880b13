"""Money: what models took and for what, what was saved, and what may still be spent."""

from collections.abc import Iterable, Mapping
from typing import Any

from uhlp.web.panel import addresses, figures
from uhlp.web.panel.markup import Markup, badge, empty, join, link, table, tag, tile, tiles
from uhlp.web.panel.page import Page, Section, Visit

_PURPOSES = {
    "serve": "answering users",
    "audit": "audits of handlers",
    "coder": "writing handlers",
    "reference": "asking who is right",
    "judge": "judging",
    "tool": "tools",
    "eval": "evaluations and trials of prompts",
    "compress": "shortening prompts",
    "shadow": "trials beside what serves",
}
_USE = ["For", "Calls", "Refused", "Tokens in", "Tokens out", "Time", "Money"]
_SAVED = ["Component", "Requests", "By code", "Time saved", "Tokens saved", "Money saved", "Spent on it", "Net"]


async def money_page(visit: Visit) -> Page:
    evolution = visit.services.evolution

    async def budgets() -> Markup:
        return _budgets((await evolution.overview()).get("budgets", {}))

    def of(app_id: str) -> Section:
        async def draw() -> Markup:
            return _application(app_id, await evolution.usage(app_id), await evolution.savings(app_id))

        return Section(name=app_id, draw=draw, every_s=10)

    sections = [Section(name="Evolution's budget today", draw=budgets, every_s=5)]
    sections += [of(app_id) for app_id in visit.services.registry.app_ids()]
    if len(sections) == 1:
        sections.append(Section(name="Applications", draw=_no_application, every_s=60))
    return Page(title="Money", place="Money", sections=tuple(sections))


async def _no_application() -> Markup:
    return empty("No applications yet.")


def _budgets(told: Mapping[str, Any]) -> Markup:
    limit, left = told.get("usdPerDay"), told.get("leftUsd")
    return tiles(
        tile("Spent", figures.usd(told.get("spentUsd")), f"on {told['day']} (UTC)" if "day" in told else None),
        tile(
            "Limit a day",
            "none" if limit is None else figures.usd(limit),
            "evolution.limits.usd_per_day; without it rules only recommend",
        ),
        tile(
            "Left",
            figures.DASH if left is None else figures.usd(left),
            tone="bad" if left is not None and left <= 0 else "",
        ),
    )


def _application(app_id: str, usage: Mapping[str, Any], savings: Mapping[str, Any]) -> Markup:
    budget, today, total = usage["budget"], usage["today"], usage["total"]
    limits = []
    if budget["usdPerDay"] is not None:
        limits.append(f"{figures.usd(budget['usdPerDay'])} a day")
    if budget["tokensPerDay"] is not None:
        limits.append(f"{budget['tokensPerDay']:,} tokens a day")
    return join(
        [
            tag(
                "p",
                link("To the application", addresses.application(app_id)),
                " · budget: ",
                " and ".join(limits) or "none",
                " ",
                badge("spent for today", "bad") if budget["isSpent"] else None,
            ),
            tiles(
                tile("Models today", _cost(today), figures.number_of(today["calls"], "call")),
                tile("Models in total", _cost(total), figures.number_of(total["calls"], "call")),
                tile(
                    "Saved today, net",
                    figures.balance(savings["today"], "net"),
                    figures.seconds(savings["today"]["net"]["seconds"]),
                ),
                tile(
                    "Saved in total, net",
                    figures.balance(savings["total"], "net"),
                    figures.seconds(savings["total"]["net"]["seconds"]),
                ),
            ),
            tag("h3", "What models took today"),
            _purposes(today["byPurpose"]),
            tag("h3", "What handlers and shorter prompts saved in total"),
            _savings(app_id, savings["components"]),
            tag("h3", "Day by day"),
            _days(savings.get("days", ())),
        ]
    )


def _purposes(purposes: Mapping[str, Mapping[str, Any]]) -> Markup:
    if not purposes:
        return empty("No model call today.")
    rows = [
        [
            _PURPOSES.get(name, figures.words(name)),
            figures.count(use["calls"]),
            figures.count(use["refused"]),
            figures.count(use["tokensIn"]),
            figures.count(use["tokensOut"]),
            figures.seconds(use["seconds"]),
            join(
                [
                    _cost(use),
                    tag("div", f"{figures.number_of(use['unpricedCalls'], 'call')} without a price", class_="quiet")
                    if use["unpricedCalls"]
                    else None,
                ]
            ),
        ]
        for name, use in sorted(purposes.items(), key=lambda item: -item[1]["usd"])
    ]
    return table("What models took today", _USE, rows, numeric=_USE[1:])


def _cost(use: Mapping[str, Any]) -> str:
    return figures.NO_PRICE if use["unpricedCalls"] and not use["usd"] else figures.usd(use["usd"])


def _spent(balance: Mapping[str, Any]) -> str:
    spent = balance["spent"]
    return figures.cost(spent["usd"], tokens=spent["tokens"], unpriced_calls=spent["unpricedCalls"])


def _savings(app_id: str, components: Mapping[str, Mapping[str, Any]]) -> Markup:
    if not components:
        return empty("No handler and no shorter prompt has served yet.")
    rows = []
    for component_id, told in components.items():
        total = told["total"]
        words = [one["measured"]["words"] for one in told["candidates"]][:1]
        rows.append(
            [
                join(
                    [
                        link(component_id, addresses.component(app_id, component_id)),
                        *(tag("div", one, class_="quiet") for one in words),
                    ]
                ),
                figures.count(total["requests"]),
                figures.share(total["byHandler"] / total["requests"] if total["requests"] else None),
                figures.seconds(total["saved"]["seconds"]),
                figures.count(total["saved"]["tokens"]),
                figures.balance(total, "saved"),
                _spent(total),
                figures.balance(total, "net"),
            ]
        )
    return table("What handlers and shorter prompts saved", _SAVED, rows, numeric=_SAVED[1:])


def _days(days: Iterable[Mapping[str, Any]]) -> Markup:
    rows = [
        [
            one["day"],
            figures.count(one["requests"]),
            figures.share(one["byHandler"] / one["requests"] if one["requests"] else None),
            figures.seconds(one["saved"]["seconds"]),
            figures.count(one["saved"]["tokens"]),
            figures.balance(one, "saved"),
            _spent(one),
            figures.balance(one, "net"),
        ]
        for one in days
    ]
    if not rows:
        return empty("No handler and no shorter prompt has served in the last days.")
    columns = ["Day (UTC)", *_SAVED[1:]]
    return table("Savings by day", columns, rows, numeric=columns[1:])
