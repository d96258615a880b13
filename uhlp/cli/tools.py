"""`uhlp tools`: what an application's components may call, and how its MCP servers are."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from uhlp.cli.arguments import App
from uhlp.cli.output import AsJson, print_entries, print_json, print_note, print_table


def tools(
    app: App,
    ask: Annotated[bool, typer.Option(help="Connect to servers that nobody has asked of late.")] = True,
    json_: AsJson = False,
) -> None:
    """The MCP servers of an application with their state, and the tools that each component may call."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        told = client.get(f"/apps/{app}/tools", ask=ask)
    if json_:
        print_json(told)
        return
    if told["servers"]:
        print_entries(
            ("server", "state", "#tools"),
            [((one["name"], _state(one), len(one["tools"])), one.get("reason") or "") for one in told["servers"]],
            empty="",
        )
    rows = [
        (component["componentId"], tool["allowed"], ", ".join(_short(name) for name in tool["matches"]) or "none known")
        for component in told["components"]
        for tool in component["tools"]
    ]
    print_table(
        ("component", "may call", "which is"),
        rows,
        empty="No component lists tools: give one `tools: [core.…, app.<server>.<tool>, …]`.",
        folds="which is",
    )
    if any(one["state"] == "idle" for one in told["servers"]):
        print_note(f"An idle server is connected by the first call, or by: uhlp tools {app}")


def _state(server: dict[str, Any]) -> str:
    if server.get("since") is None:
        return str(server["state"])
    since = datetime.fromtimestamp(server["since"], UTC)
    return f"{server['state']} since {since:%Y-%m-%d %H:%M:%S}"


def _short(name: str) -> str:
    """The part of a tool's name that tells it from others of its server."""
    return name if name.startswith("core.") else name.split(".", 2)[2]
