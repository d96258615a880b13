"""`uhlp logs`: the newest lines of a running server's log, and those that come."""

import json
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.arguments import OnlyApp
from uhlp.cli.failure import ServerAway
from uhlp.cli.output import AsJson, print_json, print_note

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient

_POLL_S = 0.5
_AT_ONCE = 1_000


def logs(
    app: OnlyApp = None,
    trace: Annotated[str | None, typer.Option("--trace", metavar="ID", help="Only this trace's: X-Trace-Id.")] = None,
    level: Annotated[
        str, typer.Option(metavar="LEVEL", help="The least severe: debug, info, warning or error.")
    ] = "info",
    limit: Annotated[int, typer.Option(min=1, max=_AT_ONCE, help="How many of the newest.")] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is logged from now on, until Ctrl-C.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """What the server logged last, oldest first; keys are masked, and the whole stands in its standard error.

    With --follow --json each line is a JSON object on a line of its own.
    """
    from uhlp.cli.admin_client import AdminClient

    asked = {"appId": app, "traceId": trace, "level": level}
    with AdminClient() as client:
        page = client.get("/logs", **asked, limit=limit)
        if follow:
            for line in _followed(client, page, asked):
                print(json.dumps(line, ensure_ascii=False), flush=True) if json_ else _print(line)
        elif json_:
            print_json(page["lines"])
        else:
            for line in reversed(page["lines"]):
                _print(line)
            if not page["lines"]:
                print("No lines.")


def _followed(client: "AdminClient", page: dict[str, Any], asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of the page, and for ever those behind it. A server that is away for a while is waited for."""
    is_away = False
    while True:
        yield from reversed(page["lines"])
        if len(page["lines"]) < _AT_ONCE:
            time.sleep(_POLL_S)
        try:
            page = client.get("/logs", **asked, limit=_AT_ONCE, after=page["cursor"])
        except ServerAway as away:
            if not is_away:
                print(f"uhlp: {away}; it is waited for", file=sys.stderr)
            page, is_away = {**page, "lines": []}, True
            continue
        is_away = False
        if page["missed"]:
            print(f"uhlp: {page['missed']:,} lines were logged faster than they were read", file=sys.stderr)


def _print(line: dict[str, Any]) -> None:
    named = {"app": line["appId"], "trace": line["traceId"], **line["facts"]}
    facts = " ".join(f"{name}={value}" for name, value in named.items() if value is not None)
    print_note(f"{line['time'][:19]} {line['level']:<7} {line['event']}  {facts}".rstrip())
    sys.stdout.flush()
