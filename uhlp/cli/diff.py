"""`uhlp diff`: what changed between two revisions, or what a folder has otherwise than its server."""

from collections.abc import Iterator
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uhlp.cli.definition_folder import APP_FILE, DefinitionFolder, read_folder
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient


def diff(
    place: Annotated[str, typer.Argument(metavar="DIR | APP", help="A folder with app.yaml, or an application.")],
    old: Annotated[
        str, typer.Argument(metavar="[FROM]", help="A revision; the one before the newest if not given.")
    ] = "",
    new: Annotated[str, typer.Argument(metavar="[TO]", help="A revision; the newest if not given.")] = "",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit status 1 where something differs.")] = False,
    json_: AsJson = False,
) -> None:
    """What differs, as a unified diff: of a folder and what is served, or of two revisions of an application.

    Of a folder it shows keys and proven handlers, too, that the server alone has: they stay when it is applied.
    """
    from uhlp.cli.admin_client import AdminClient

    folder = Path(place)
    with AdminClient() as client:
        if not old and (folder / APP_FILE).is_file():
            local = read_folder(folder)
            found = {"appId": local.app_id, "diff": "".join(_of_folder(client, local))}
        else:
            found = _of_revisions(client, place, old, new)
    if json_:
        print_json(found)
    elif found["diff"]:
        print(found["diff"], end="" if found["diff"].endswith("\n") else "\n")
    else:
        print("no difference")
    if exit_code and found["diff"]:
        raise typer.Exit(1)


def _of_revisions(client: "AdminClient", app: str, old: str, new: str) -> dict[str, str]:
    commits = [one["revision"] for one in client.get(f"/apps/{app}/history", limit=2)["commits"]]
    if not old and len(commits) < 2:
        raise CommandError(f"{app} has one revision only: nothing to compare it with")
    old, new = old or commits[1], new or commits[0]
    answer = client.get(f"/apps/{app}/diff", **{"from": old, "to": new})
    return {"appId": app, "from": old, "to": new, "diff": answer["diff"]}


def _of_folder(client: "AdminClient", local: DefinitionFolder) -> Iterator[str]:
    """The pieces of a diff from what is served to the folder."""
    place = f"/apps/{local.app_id}/definition"
    entries = client.get(place, recursive=True)["entries"]
    served = [entry["path"] for entry in entries if entry["type"] == "file"]
    for path in sorted({*local.files, *local.lacks(served)}):
        before = client.get(f"{place}/{path}")["content"] if path in served else ""
        after = local.files.get(path, "")
        yield from unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"a/{path}" if path in served else "/dev/null",
            f"b/{path}" if path in local.files else "/dev/null",
        )
