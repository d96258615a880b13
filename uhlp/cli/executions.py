"""`uhlp executions`: runs of workflows, and the timeline of one."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.arguments import App, OnlyComponent
from uhlp.cli.failure import NOT_SO, CommandError
from uhlp.cli.output import AsJson, print_json, print_table
from uhlp.cli.progress import progress

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient

_POLL_S = 0.5
_NAME_WIDTH = 31
_MOST_TEXT = 200


def executions(
    app: App,
    execution: Annotated[str, typer.Argument(metavar="[EXECUTION]", help="Show the timeline of this one.")] = "",
    component: OnlyComponent = None,
    state: Annotated[str | None, typer.Option(help="running, waiting, succeeded, failed or cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many, newest first.")] = 20,
    cancel: Annotated[str, typer.Option(metavar="REASON", help="End the execution, and say why.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until it is over; exit status 1 unless it succeeded.")] = False,
    json_: AsJson = False,
) -> None:
    """Runs of an application's workflows; with an id, what each step did, when, and what it gave."""
    from uhlp.cli.admin_client import AdminClient

    if (cancel or wait) and not execution:
        option = "--cancel REASON" if cancel else "--wait"
        raise CommandError("which execution?", hint=f"uhlp executions {app} EXECUTION {option}")
    with AdminClient() as client:
        if cancel:
            client.post(f"/apps/{app}/executions/{execution}/cancel", {"reason": cancel})
        if execution:
            one = client.get(f"/apps/{app}/executions/{execution}")
            if wait:
                one = _followed(client, one, shows=not json_)
            print_json(one) if json_ else _print_timeline(one, _price(client, one))
            if wait and one["state"] != "succeeded":
                raise typer.Exit(NOT_SO)
            return
        found = client.get(f"/apps/{app}/executions", componentId=component, state=state, limit=limit)["executions"]
    if json_:
        print_json(found)
        return
    print_table(
        ("execution", "component", "state", "#took"),
        [(one["executionId"], one["componentId"], one["state"], _span(one["durationMs"])) for one in found],
        empty="No such run of a workflow." if component or state else "No runs of workflows yet.",
    )


def _followed(client: "AdminClient", one: dict[str, Any], *, shows: bool) -> dict[str, Any]:
    """The execution once it is over."""
    with progress(one["state"], is_shown=shows) as bar:
        while one["state"] in ("running", "waiting"):
            time.sleep(_POLL_S)
            one = client.get(f"/apps/{one['appId']}/executions/{one['executionId']}")
            ended = sum(step["state"] == "succeeded" for step in one["steps"])
            bar.say(f"{one['state']}, {ended} of {len(one['steps'])} steps begun have succeeded")
    return one


def _price(client: "AdminClient", one: dict[str, Any]) -> str | None:
    from uhlp.cli.prices import cost_in

    usage = one["usage"]
    return cost_in(client, one["appId"], usage["costUsd"], tokens=usage["tokensIn"] + usage["tokensOut"])


def _print_timeline(one: dict[str, Any], price: str | None) -> None:
    print(f"{one['appId']}/{one['componentId']}  {one['state']}  after {_span(one['durationMs'])}")
    print(f"  execution {one['executionId']}, trace {one['traceId']}"[:80])
    print(f"  workflow {one['workflowId']} at {one['revision'][:7]}, begun {_utc(one['startedAt'])} by {one['source']}")
    usage = one["usage"]
    if usage["tokensIn"] or usage["tokensOut"]:
        print(f"  models: {usage['tokensIn']} + {usage['tokensOut']} tokens, {price}")
    print()
    print(f"  {'start':>8}  {'took':>8}  {'step':<{_NAME_WIDTH}}  state")
    for step in one["steps"]:
        print(_line(step))
        for detail in _details(step):
            print(f"  {'':>20}{detail}"[:80])
    if one["areStepsLeftOut"]:
        print("  …")
    if one["error"]:
        print(f"\n{one['error']['code']}: {one['error']['message']}"[:_MOST_TEXT])
    elif one["result"] is not None:
        from json import dumps

        print(f"\nresult {_cut(dumps(one['result'], ensure_ascii=False), 73)}")


def _line(step: dict[str, Any]) -> str:
    """One attempt: when it began, how long it took, where it stands, how it is."""
    depth = step["path"].count("/")
    name = "  " * depth + step["path"].rpartition("/")[2] + (f" ({step['attempt']})" if step["attempt"] > 1 else "")
    if depth:
        inside = step["path"].rpartition("/")[0].rpartition("/")[2]
        place = inside[inside.find("[") :] if "[" in inside else inside.rpartition(".")[2]
        name = "  " * depth + f"{place} " + name.strip()
    took = "" if step["durationMs"] is None else _span(step["durationMs"])
    return f"  {_span(step['startedMs']):>8}  {took:>8}  {_cut(name, _NAME_WIDTH):<{_NAME_WIDTH}}  {step['state']}"


def _details(step: dict[str, Any]) -> list[str]:
    found = []
    if step["implementation"]:
        tokens = step["tokensIn"] + step["tokensOut"]
        found.append(step["implementation"] + (f", {tokens} tokens" if tokens else ""))
    if step["error"]:
        found.append(f"{step['error']['code']}: {step['error']['message']}")
    waits = step["waitsFor"]
    if waits and step["state"] == "waiting":
        what = f"callback {waits['callback']} ({waits['correlation']})" if waits["callback"] else "time"
        found.append(f"for {what}, until {_utc(waits['until'])}")
    return [_cut(one, 58) for one in found]


def _span(milliseconds: float) -> str:
    if milliseconds < 1_000:
        return f"{milliseconds:.0f} ms"
    seconds = milliseconds / 1_000
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.0f} h"


def _utc(moment: str) -> str:
    """RFC 3339 text to the second."""
    return f"{moment[:19].replace('T', ' ')} UTC"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
