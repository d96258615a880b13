"""`uhlp logs`: the newest lines of a running server's log."""

from typing import Annotated, Any

import typer

from uhlp.cli.output import AsJson, print_json, print_note


def logs(
    app: Annotated[str | None, typer.Option("--app", metavar="APP", help="Only lines that name this one.")] = None,
    trace: Annotated[str | None, typer.Option("--trace", metavar="ID", help="Only this trace's: X-Trace-Id.")] = None,
    level: Annotated[str, typer.Option(help="The least severe: debug, info, warning or error.")] = "info",
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="How many of the newest.")] = 50,
    json_: AsJson = False,
) -> None:
    """What the server logged last, oldest first; keys are masked, and the whole stands in its standard error."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get("/logs", appId=app, traceId=trace, level=level, limit=limit)["lines"]
    if json_:
        print_json(found)
        return
    for line in reversed(found):
        print_note(_shown(line))
    if not found:
        print("No lines.")


def _shown(line: dict[str, Any]) -> str:
    named = {"app": line["appId"], "trace": line["traceId"], **line["facts"]}
    facts = " ".join(f"{name}={value}" for name, value in named.items() if value is not None)
    return f"{line['time'][:19]} {line['level']:<7} {line['event']}  {facts}".rstrip()
