"""`uhlp keys`: who may call an application."""

from typing import Annotated, Any

import typer

from uhlp.cli.arguments import App
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_done, print_json, print_table


def create(
    app: App,
    description: Annotated[str, typer.Option(help="Whose it is, or what for.")] = "",
    permission: Annotated[
        list[str] | None,
        typer.Option(help="What it may do: invoke:COMPONENT, trigger:EVENT; repeatable. Else invoke:*."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Make a key for callers. It is shown this once; the application keeps its hash."""
    from uhlp.cli.admin_client import AdminClient

    body: dict[str, Any] = {"description": description}
    if permission:
        body["permissions"] = permission
    with AdminClient() as client:
        made = client.post(f"/apps/{app}/api-keys", body)
    print_done(
        made,
        made["apiKey"],
        "  shown once; callers send it as X-API-Key",
        f"  delete it: uhlp keys delete {app} {made['keyId']}",
        as_json=json_,
    )


def list_keys(app: App, json_: AsJson = False) -> None:
    """The keys of an application, and what each may do."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get(f"/apps/{app}/api-keys")["keys"]
    if json_:
        print_json(found)
        return
    print_table(
        ("key", "may", "description"),
        [
            (one["keyId"], ", ".join(one["permissions"]) if one["enabled"] else "nothing: disabled", one["description"])
            for one in found
        ],
        empty=f"No keys: uhlp keys create {app}",
        folds="description",
    )


def delete(
    app: App,
    key: Annotated[str, typer.Argument(metavar="KEY", help="Its id; `uhlp keys list`.")],
    json_: AsJson = False,
) -> None:
    """Delete a key: it is refused from the next request on."""
    from uhlp.cli.admin_client import AdminClient

    if key.startswith("uhlp_"):
        raise CommandError(
            "that is a key, not the id of one",
            hint=f"it now stands in your shell's history: find its id with `uhlp keys list {app}`, and delete it",
        )
    with AdminClient() as client:
        gone = client.delete(f"/apps/{app}/api-keys/{key}")
    print_done(gone, f"{gone['keyId']} is deleted", as_json=json_)
