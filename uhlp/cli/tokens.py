"""`uhlp tokens`: who may administer the server, and as what."""

from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from uhlp.cli.arguments import Reason
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, moment, print_done, print_json, print_table


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is: the actor in ledger and commits.")],
    role: Annotated[
        Literal["viewer", "operator", "owner"],
        typer.Option(help="viewer reads, operator also acts on candidates and samples, owner may everything."),
    ],
    reason: Reason = "asked for by hand",
    json_: AsJson = False,
) -> None:
    """Make a token. It is shown this once; the server keeps its hash."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        made = client.post("/tokens", {"name": name, "role": role, "reason": reason})
    print_done(
        made,
        made["token"],
        f"  {made['name']}, {made['role']}; shown once",
        f"  delete it: uhlp tokens delete {made['tokenId']}",
        as_json=json_,
    )


def list_tokens(json_: AsJson = False) -> None:
    """Who has a token, with which role, and when it was last used."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found: list[dict[str, Any]] = client.get("/tokens")["tokens"]
    if json_:
        print_json(found)
        return
    print_table(
        ("id", "name", "role", "created", "by", "last used"),
        [
            (
                one["tokenId"],
                one["name"],
                one["role"],
                moment(_epoch_s(one["createdAt"])),
                one["createdBy"] or "settings",
                one["lastUsedDay"],
            )
            for one in found
        ],
        empty="No tokens.",
    )


def delete(
    token: Annotated[str, typer.Argument(metavar="ID", help="Its id; `uhlp tokens list`.")],
    reason: Reason = "asked for by hand",
    json_: AsJson = False,
) -> None:
    """Delete a token: it is refused from the next request on."""
    from uhlp.cli.admin_client import AdminClient

    if token.startswith("uhlp_admin_"):
        raise CommandError(
            "that is a token, not the id of one",
            hint="it now stands in your shell's history: find its id with `uhlp tokens list`, and delete it",
        )
    with AdminClient() as client:
        gone = client.delete(f"/tokens/{token}", reason=reason)
    print_done(gone, f"{gone['tokenId']} of {gone['name']} is deleted", as_json=json_)


def _epoch_s(rfc3339: str | None) -> float | None:
    return None if rfc3339 is None else datetime.fromisoformat(rfc3339).timestamp()
