"""Overview: what the server does now, what it saves, and what asks for attention."""

from collections.abc import Iterable, Sequence
from typing import Any

from uhlp.models.definition import HandlerType
from uhlp.web.admin.role_table import needed_role
from uhlp.web.application_status import application_status
from uhlp.web.panel import addresses, figures
from uhlp.web.panel import requests as panel_requests
from uhlp.web.panel.candidate_marks import state_badge
from uhlp.web.panel.evolution_switch import pause_actions, pause_switch
from uhlp.web.panel.history import HOUR_S, requests_chart
from uhlp.web.panel.markup import (
    EMPTY,
    Markup,
    badge,
    details,
    empty,
    facts,
    join,
    link,
    moment,
    mono,
    note,
    table,
    tag,
    tile,
    tiles,
    when,
)
from uhlp.web.panel.page import Page, Section, Visit
from uhlp.web.panel.waiting_list import open_questions
from uhlp.web.services import Services

NOW_S = 60


async def overview_page(visit: Visit) -> Page:
    services = visit.services

    async def now() -> Markup:
        return await _now(services)

    async def requests() -> Markup:
        return requests_chart(services, services.registry.app_ids())

    async def saved() -> Markup:
        return await _saved(services)

    async def applications() -> Markup:
        return join([await _applications(services), _create(visit)])

    async def evolution() -> Markup:
        return await _evolution(visit)

    async def server() -> Markup:
        return await _server(services)

    async def loops() -> Markup:
        return _loops(services)

    return Page(
        title="Overview",
        place="Overview",
        sections=(
            Section(name="Now", draw=now, is_plain=True),
            Section(name="Requests", draw=requests, every_s=5),
            Section(name="Saved by handlers", draw=saved, every_s=10),
            Section(name="Applications", draw=applications, every_s=3),
            Section(name="Evolution", draw=evolution),
            Section(name="Server", draw=server, every_s=5),
            Section(name="Loops", draw=loops, every_s=5),
        ),
        actions=pause_actions(visit),
    )


async def _now(services: Services) -> Markup:
    apps = services.registry.app_ids()
    rate = sum(services.windows.window(app_id, None, NOW_S).value("rate", "calls_per_min") or 0 for app_id in apps)
    hour = [services.windows.window(app_id, None, HOUR_S).as_dict() for app_id in apps]
    by_code = sum(services.windows.window(app_id, None, HOUR_S, "jit").count for app_id in apps)
    requests, errors = sum(one["count"] for one in hour), sum(one["errors"] for one in hour)
    alerts = (await services.evolution.overview()).get("alerts", [])
    waiting = len(await services.evolution.recommendations()) + await _questions(services)
    return tiles(
        tile("Requests", figures.rate(rate), "in the last minute"),
        tile(
            "Answered by code",
            figures.share(by_code / requests if requests else None),
            f"{by_code:,} of {requests:,} in the last hour",
        ),
        tile(
            "Errors",
            figures.share(errors / requests if requests else None, 1),
            "in the last hour",
            "bad" if errors else "",
        ),
        tile(
            "Alarms",
            str(len(alerts)),
            link("Show", addresses.EVENTS) if alerts else "nothing stands out",
            "bad" if alerts else "good",
        ),
        tile("Waiting for you", str(waiting), link("Decide", addresses.WAITING) if waiting else "nothing"),
    )


async def _questions(services: Services) -> int:
    return sum(len(found) for _app, _component, found in await open_questions(services))


async def _saved(services: Services) -> Markup:
    balances = [await services.evolution.savings(app_id) for app_id in services.registry.app_ids()]
    budgets = (await services.evolution.overview()).get("budgets", {})
    limit, left = budgets.get("usdPerDay"), budgets.get("leftUsd")
    return tiles(
        tile("Money today", figures.balance(_money(balances, "today"), "net"), "after what evolution spent"),
        tile("Time today", figures.seconds(_sum(balances, "today", "net", "seconds")), "that callers did not wait"),
        tile("Money in total", figures.balance(_money(balances, "total"), "net"), "after what evolution spent"),
        tile("Time in total", figures.seconds(_sum(balances, "total", "net", "seconds")), "that callers did not wait"),
        tile(
            "Evolution spent today",
            figures.usd(budgets.get("spentUsd")),
            "no limit is set" if limit is None else f"{figures.usd(left)} of {figures.usd(limit)} left",
        ),
    )


def _sum(balances: Iterable[dict[str, Any]], span: str, figure: str, unit: str) -> float:
    return sum(float(one[span][figure][unit]) for one in balances)


def _money(balances: Sequence[dict[str, Any]], span: str) -> dict[str, Any]:
    """The money of several balances as one."""
    return {
        "saved": {"usd": _sum(balances, span, "saved", "usd")},
        "net": {"usd": _sum(balances, span, "net", "usd")},
        "unpricedRequests": sum(one[span]["unpricedRequests"] for one in balances),
    }


async def _applications(services: Services) -> Markup:
    app_ids = services.registry.app_ids()
    if not app_ids:
        return empty("No applications yet.", mono("uhlp init my-app && uhlp apply my-app"))
    rows = []
    for app_id in app_ids:
        snapshot = services.registry.snapshot(app_id)
        status, details = await application_status(services, app_id)
        window = services.windows.window(app_id, None, HOUR_S)
        by_code = services.windows.window(app_id, None, HOUR_S, "jit").count
        kinds = [component.definition.handler_type for component in snapshot.components.values()]
        problems = [tag("p", problem, class_="warn-text") for problem in details.get("sandboxProblems", ())]
        rows.append(
            [
                join(
                    [
                        link(snapshot.definition.display_name or app_id, addresses.application(app_id)),
                        tag("div", app_id, class_="quiet") if snapshot.definition.display_name else None,
                        *problems,
                    ]
                ),
                state_badge(status),
                f"{kinds.count(HandlerType.JIT)} of {len(kinds)} run as code",
                figures.rate(services.windows.window(app_id, None, NOW_S).value("rate", "calls_per_min")),
                figures.count(window.count),
                figures.share(by_code / window.count if window.count else None),
                figures.milliseconds(window.value("p50", "latency_ms")),
                figures.share(window.value("rate", "errors"), 1),
            ]
        )
    columns = ["Application", "Status", "Components", "Now", "Last hour", "By code", "p50", "Errors"]
    return table("Applications", columns, rows, numeric=columns[3:])


def _create(visit: Visit) -> Markup:
    """For owners: the way to a new one."""
    may = visit.administrator.role.covers(needed_role(*panel_requests.DRAFT.split()))
    made = link("Create an application", addresses.CREATE, class_="button")
    return tag("div", made, class_="buttons") if may else EMPTY


async def _evolution(visit: Visit) -> Markup:
    told = await visit.services.evolution.overview()
    states = told.get("candidates", {})
    counts = [
        link(f"{number} {figures.words(state)}", f"{addresses.CANDIDATES}?state={state}")
        for state, number in states.items()
    ]
    leads = told["leadership"]
    problems = [note(f"{one['what']}: {one['why']}", "bad") for one in told.get("problems", ())]
    return join(
        [
            *problems,
            pause_switch(visit, told),
            facts(
                [
                    ("Candidates", tag("span", *_separated(counts)) if counts else "none yet"),
                    ("Decides", "this server" if leads["leads"] else f"another server: {leads['leader']}"),
                    (
                        "Ledger",
                        link(f"{told['ledger']['seq']:,} entries", addresses.LEDGER)
                        if "ledger" in told
                        else figures.DASH,
                    ),
                ]
            ),
        ]
    )


def _separated(parts: list[Markup]) -> list[Markup]:
    comma = Markup(", ")
    return [part for one in parts for part in (one, comma)][:-1]


async def _server(services: Services) -> Markup:
    walls = services.sandboxes.capabilities
    parts = []
    for name, probe in services.probes.items():
        try:
            reason = await probe()
        except Exception as error:
            reason = str(error) or type(error).__name__
        parts.append((figures.spoken(name), badge("ready", "good") if reason is None else note(reason, "bad")))
    isolation = badge(walls.isolation, "bad" if walls.isolation == "none" else "good")
    missing = note(f"Missing: {', '.join(walls.missing)}", "warn") if walls.missing else EMPTY
    return join(
        [
            facts(
                [
                    (
                        "Walls",
                        join([link(f"{walls.driver} driver", addresses.SANDBOXES), " isolation: ", isolation]),
                    ),
                    ("Mode", services.deployment_mode),
                    *parts,
                ]
            ),
            missing,
        ]
    )


def _loops(services: Services) -> Markup:
    columns = ["Loop", "State", "Cycles", "Crashes", "Last cycle", "It took"]
    rows = [
        [
            mono(one.name),
            badge("runs", "good") if one.is_healthy else note(one.last_error or "stopped", "bad"),
            figures.count(one.cycles),
            figures.count(one.crashes),
            when(one.last_cycle_ended_at),
            figures.milliseconds(None if one.last_cycle_s is None else one.last_cycle_s * 1000),
        ]
        for one in services.loops()
    ]
    ill = [one.name for one in services.loops() if not one.is_healthy]
    summary = f"{len(ill)} of {len(rows)} fail: {', '.join(ill)}" if ill else f"All {len(rows)} run"
    listed = table("Background loops", columns, rows, numeric=(*columns[2:4], columns[5]))
    return join(
        [note(summary, "bad") if ill else EMPTY, details("Each of them" if ill else summary, listed, key="loops")]
    )


def alert_rows(alerts: Iterable[dict[str, Any]]) -> Markup:
    """Conditions that hold now."""
    rows = [
        [state_badge(one["severity"]), figures.words(one["event"]), _place(one), one["reason"], moment(one["ts"])]
        for one in alerts
    ]
    return table("Alarms", ["Severity", "What", "Where", "Why", "Since"], rows)


def _place(one: dict[str, Any]) -> Markup | str:
    if one.get("candidateId"):
        return link(one["candidateId"], addresses.candidate(one["candidateId"]))
    if one.get("componentId"):
        return link(f"{one['appId']} / {one['componentId']}", addresses.component(one["appId"], one["componentId"]))
    return link(one["appId"], addresses.application(one["appId"])) if one.get("appId") else "the whole server"
