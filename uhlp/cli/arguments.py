"""What several commands ask for by the same name, and what a shell completes it to."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Annotated, Any

import typer

from uhlp.cli.failure import CommandError

_COMPLETES_WITHIN_S = 2.0


def point_at(url: str | None, token: str | None) -> None:
    """The server that --url and --token name is the one that is asked."""
    for variable, value in (("UHLP_URL", url), ("UHLP_ADMIN_TOKEN", token)):
        if value:
            os.environ[variable] = value


def _told(ctx: typer.Context, path: str, **query: str) -> dict[str, Any]:
    """What the server says; nothing when it cannot be asked: whoever presses Tab wants no error."""
    from uhlp.cli.admin_client import AdminClient

    given = ctx.find_root().params
    point_at(given.get("url"), given.get("token"))
    with suppress(CommandError), AdminClient(timeout_s=_COMPLETES_WITHIN_S) as client:
        return client.get(path, **query)
    return {}


def app_ids(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Applications that begin so."""
    found = (one["appId"] for one in _told(ctx, "/apps").get("applications", ()))
    return (name for name in found if name.startswith(incomplete))


def component_ids(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Components that begin so, of the application that stands before."""
    app = ctx.params.get("app") or ctx.params.get("place")
    found = _told(ctx, f"/apps/{app}/components").get("components", ()) if app else ()
    return (one["componentId"] for one in found if one["componentId"].startswith(incomplete))


def prompt_names(ctx: typer.Context, incomplete: str) -> Iterator[str]:
    """Prompts that begin so, of the application that stands before."""
    app = ctx.params.get("app")
    found = _told(ctx, f"/apps/{app}/definition", directory="prompts").get("entries", ()) if app else ()
    names = (PurePosixPath(one["path"]) for one in found)
    return (one.stem for one in names if one.suffix == ".yaml" and one.stem.startswith(incomplete))


def candidate_ids(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Candidates that begin so, each with what it is."""
    for one in _told(ctx, "/candidates").get("candidates", ()):
        if one["candidateId"].startswith(incomplete):
            yield one["candidateId"], f"{one['appId']}/{one['componentId']}, {one['state']}"


App = Annotated[str, typer.Argument(metavar="APP", help="Application id.", autocompletion=app_ids)]
Component = Annotated[str, typer.Argument(metavar="COMPONENT", help="Component id.", autocompletion=component_ids)]
CandidateId = Annotated[
    str,
    typer.Argument(
        metavar="CANDIDATE", help="Candidate id; `uhlp candidates` lists them.", autocompletion=candidate_ids
    ),
]
Prompt = Annotated[
    str,
    typer.Argument(metavar="PROMPT", help="Name of a file in prompts/, without .yaml.", autocompletion=prompt_names),
]
Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]
OnlyApp = Annotated[
    str | None,
    typer.Option("--app", metavar="APP", help="Only this application.", autocompletion=app_ids),
]
OnlyComponent = Annotated[
    str | None,
    typer.Option("--component", metavar="COMPONENT", help="Only this component.", autocompletion=component_ids),
]
