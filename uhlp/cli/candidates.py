"""Commands of oversight: `uhlp candidates`, `why`, `optimize`, `rollback`."""

from typing import Annotated

import typer

from uhlp.cli.output import AsJson, moment, percent, print_json, print_table

App = Annotated[str, typer.Argument(metavar="APP", help="Application id.")]
Component = Annotated[str, typer.Argument(metavar="COMPONENT", help="Component id.")]


def candidates(
    app: Annotated[str | None, typer.Option(help="Only this application.")] = None,
    state: Annotated[str | None, typer.Option(help="Only this state, for example canary.")] = None,
    json_: AsJson = False,
) -> None:
    """Proposed implementations and how far they have come."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get("/candidates", appId=app, state=state)["candidates"]
    if json_:
        print_json(found)
        return
    print_table(
        ("candidate", "component", "state", "#compared", "#wrong", "#coverage", "reason"),
        [
            (
                one["candidateId"],
                f"{one['appId']}/{one['componentId']}",
                one["state"],
                one.get("n"),
                one.get("k"),
                percent(one.get("coverage")),
                one.get("reason"),
            )
            for one in found
        ],
        empty="No candidates.",
    )


def why(app: App, component: Component, json_: AsJson = False) -> None:
    """Why a component runs as it does: what is proven, what is missing, how many, by when."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        answer = client.get(f"/apps/{app}/components/{component}/why")
    if json_:
        print_json(answer)
        return
    state = f", candidate {answer['candidateId']} is {answer['state']}" if answer.get("candidateId") else ""
    print(f"{app}/{component} runs as {answer['handlerType']}{state}")
    for line in answer["lines"]:
        print(f"  {line}")
    for one in answer.get("missing", ()):
        by_when = f", expected {moment(one['expectedAt'])}" if one.get("expectedAt") else ""
        print(f"  {one['what']}: {one['have']} of {one['need']}{by_when}")


def optimize(
    app: App,
    component: Component,
    action: Annotated[str, typer.Option(help="jit or compress.")] = "jit",
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "asked for by hand",
) -> None:
    """Ask for a candidate now, without waiting for a rule. Verification is never skipped."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        answer = client.post(f"/apps/{app}/components/{component}/optimize", {"action": action, "reason": reason})
    print(answer["candidateId"])


def rollback(
    candidate: Annotated[str, typer.Argument(metavar="CANDIDATE", help="Candidate id.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")],
    json_: AsJson = False,
) -> None:
    """Take a candidate out of service; what ran before answers from the next request on."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        answer = client.post(f"/candidates/{candidate}/rollback", {"reason": reason})
    if json_:
        print_json(answer)
    else:
        print(f"{candidate} is {answer.get('state', 'rolled back')}")
