"""Events: alarms that stand now, the newest decisions, and who else is told."""

from collections.abc import Mapping
from typing import Any

from uhlp.web.panel import addresses, figures
from uhlp.web.panel.candidate_marks import decision
from uhlp.web.panel.markup import Markup, empty, link, table, tag, when
from uhlp.web.panel.page import Page, Section, Visit
from uhlp.web.panel.pages.overview import alert_rows

SHOWN = 40
_COLUMNS = ["When", "What", "Where", "Why", "Who"]


async def events_page(visit: Visit) -> Page:
    evolution = visit.services.evolution

    async def alarms() -> Markup:
        alerts = (await evolution.overview()).get("alerts", [])
        return alert_rows(alerts) if alerts else empty("No alarm stands.")

    async def decisions() -> Markup:
        seq = (await evolution.overview()).get("ledger", {"seq": 0})["seq"]
        found = await evolution.ledger(None, after=max(0, seq - SHOWN), limit=SHOWN)
        return _decisions(found) if found else empty("Nothing was decided yet.")

    async def webhooks() -> Markup:
        return _webhooks((await evolution.overview()).get("webhooks", []))

    return Page(
        title="Events",
        place="Events",
        sections=(
            Section(name="Alarms that stand", draw=alarms),
            Section(name="Decisions, newest first", draw=decisions),
            Section(name="Webhooks", draw=webhooks, every_s=5),
        ),
    )


def _decisions(entries: list[dict[str, Any]]) -> Markup:
    rows = [
        [
            when(one["ts"]),
            tag("strong", decision(one)),
            _place(one),
            one["reason"],
            tag("span", one["actor"], class_="word"),
        ]
        for one in reversed(entries)
    ]
    return table("Decisions", _COLUMNS, rows)


def _place(one: Mapping[str, Any]) -> Markup | str:
    if one.get("candidate"):
        return link(f"{one.get('component') or one['candidate']}", addresses.candidate(one["candidate"]))
    return str(one.get("app") or "the whole server")


def _webhooks(webhooks: list[dict[str, Any]]) -> Markup:
    if not webhooks:
        return empty("No webhook is set.", "alerts.webhooks in uhlp.toml; GET /admin/v1/events streams the same.")
    names = list(dict.fromkeys(name for one in webhooks for name in one))
    rows = [[_text(one.get(name)) for name in names] for one in webhooks]
    return table("Webhooks", [figures.spoken(name) for name in names], rows)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "every alert"
    return figures.DASH if value is None else str(value)
