"""`uhlp recommendations`, `uhlp savings` and `uhlp usage`."""

from typing import Annotated, Any

import typer

from uhlp.cli.arguments import App, OnlyApp
from uhlp.cli.output import NO_PRICE, AsJson, cost, percent, print_entries, print_json, print_note, print_table

_STATUS = {
    "waits_for_approval": "waits for approval",
    "not_worth_it": "does not pay",
    "queued": "queued",
    "waiting": "waits",
    "refused": "refused",
}


def recommendations(app: OnlyApp = None, json_: AsJson = False) -> None:
    """What rules ask for and you may start: expected saving, break-even, and why it was not started by itself."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get("/recommendations", appId=app)["recommendations"]
        if not found:
            client.check_app(app)
    if json_:
        print_json(found)
        return
    print_entries(
        ("component", "state", "#break-even", "#saves"),
        [
            (
                (
                    f"{one['appId']}/{one['componentId']}",
                    _STATUS.get(one["status"], one["status"]),
                    _calls((one["expected"] or {}).get("calls")),
                    _dollars((one["expected"] or {}).get("horizonSavingUsd")),
                ),
                _because(one),
            )
            for one in found
        ],
        empty="Nothing to recommend; what a component misses: uhlp why APP COMPONENT",
    )


def savings(
    app: App,
    days: Annotated[int, typer.Option(min=1, max=35, help="So many days are shown apart.")] = 7,
    json_: AsJson = False,
) -> None:
    """What handlers and shorter prompts have saved, in total and day by day (UTC), less what was spent on them."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get(f"/apps/{app}/savings", days=days)
    if json_:
        print_json(found)
        return
    rows = [("all", "", found), *((name, _paid(one), one) for name, one in found["components"].items())]
    print_table(
        ("component", "#requests", "#saved today", "#saved", "#spent", "#net", "#seconds", "#tokens"),
        [
            (
                name,
                f"{one['total']['requests']:,}",
                _saved(one["today"], "saved"),
                _saved(one["total"], "saved"),
                _spent(one["total"]),
                _saved(one["total"], "net"),
                f"{one['total']['saved']['seconds']:,.1f}",
                f"{one['total']['saved']['tokens']:,}",
            )
            for name, _, one in rows
        ],
        empty="",
    )
    for name, words, _ in rows:
        if words:
            print_note(f"{name}: {words}")
    print_table(
        ("day", "component", "#requests", "#by handlers", "#saved", "#spent", "#net", "#seconds", "#tokens"),
        [
            (
                day["day"], name, f"{one['requests']:,}", f"{one['byHandler']:,}",
                _saved(one, "saved"), _spent(one), _saved(one, "net"),
                f"{one['saved']['seconds']:,.1f}", f"{one['saved']['tokens']:,}",
            )
            for day in found["days"]
            for name, one in _on(day, found["components"])
        ],
        empty=f"Nothing happened within {days} days.",
    )  # fmt: skip


def usage(app: App, json_: AsJson = False) -> None:
    """What models took, by component and by purpose, today (UTC) and in total."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get(f"/apps/{app}/usage")
    if json_:
        print_json(found)
        return
    rows = []
    for name, one in (("all", found), *found["components"].items()):
        for purpose, total in (one["total"] or {"byPurpose": {}})["byPurpose"].items():
            today = one["today"]["byPurpose"].get(purpose, {})
            rows.append((
                name, purpose, f"{total['calls']:,}", f"{total['tokensIn'] + total['tokensOut']:,}",
                f"{total['seconds']:,.1f}", _cost(total), _cost(today) if today else "$0.0000",
            ))  # fmt: skip
    print_table(
        ("component", "for", "#calls", "#tokens", "#seconds", "#cost", "#today"), rows, empty="No model was asked yet."
    )
    if found["total"] and found["total"]["unpricedCalls"]:
        calls = f"{found['total']['unpricedCalls']:,} calls have no known price and are in no sum"
        print_note(f"{calls}; give it as llm.providers.<name>.prices.")
    budget = found["budget"]
    if budget["usdPerDay"] is not None or budget["tokensPerDay"] is not None:
        limits = [f"${budget['usdPerDay']:g}"] if budget["usdPerDay"] is not None else []
        limits += [f"{budget['tokensPerDay']:,} tokens"] if budget["tokensPerDay"] is not None else []
        print_note(f"Budget a day: {', '.join(limits)}{', spent' if budget['isSpent'] else ''}")


def _on(day: dict[str, Any], components: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A day of the application, and of each of its components that had one."""
    own = [(name, one) for name, found in components.items() for one in found["days"] if one["day"] == day["day"]]
    return own if len(own) == 1 else [("all", day), *own]


def _because(one: dict[str, Any]) -> str:
    expected = f"; {one['expected']['words']}" if one["expected"] else ""
    app, component, candidate = one["appId"], one["componentId"], one["candidateId"]
    start = f"uhlp approve {candidate} --reason …" if candidate else f"uhlp optimize {app} {component}"
    return f"{one['reason']}{expected}; start it: {start}"


def _paid(component: dict[str, Any]) -> str:
    """The newest handler's break-even, in words."""
    for one in component["candidates"]:
        measured = one["measured"]
        return f"{one['candidateId']} answers {percent(measured['coverage'])}; {measured['words']}"
    return ""


def _cost(use: dict[str, Any]) -> str | None:
    return NO_PRICE if use["unpricedCalls"] and not use["usd"] else _dollars(use["usd"])


def _spent(balance: dict[str, Any]) -> str | None:
    spent = balance["spent"]
    return cost(spent["usd"], tokens=spent["tokens"], unpriced_calls=spent["unpricedCalls"])


def _saved(balance: dict[str, Any], figure: str) -> str | None:
    """`saved` or `net` of a balance, where the price of what was saved is known of any request."""
    return NO_PRICE if balance["unpricedRequests"] and not balance["saved"]["usd"] else _dollars(balance[figure]["usd"])


def _calls(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _dollars(value: float | None) -> str | None:
    """The amount with four places: savings of single calls are small."""
    return None if value is None else f"${value:,.4f}" if value >= 0 else f"-${-value:,.4f}"
