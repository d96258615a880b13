"""`uhlp init`: a commented starter application."""

import re
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from uhlp.cli.failure import CommandError

_NAME_IN_TEMPLATE = "my-app"
_TEMPLATE = Path(__file__).parent / "starter_app"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; must not hold files yet.")],
    name: Annotated[
        str | None,
        typer.Option(help="Application id: lower-case letters, digits, dashes. By default the folder's name."),
    ] = None,
) -> None:
    """Write a commented starter application that `uhlp apply` accepts."""
    app_id = name or _as_app_id(folder.absolute().name)
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,62}", app_id):
        raise CommandError(
            f"{app_id!r} is no application id",
            hint="lower-case letters, digits and dashes, first a letter: --name my-app",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} is not an empty folder")
    for source in sorted(path for path in _TEMPLATE.rglob("*") if path.is_file()):
        target = folder / source.relative_to(_TEMPLATE)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text(encoding="utf-8").replace(_NAME_IN_TEMPLATE, app_id), encoding="utf-8")
    print(f"wrote {app_id} to {folder}")
    print(f"  next: uhlp apply {quote(str(folder))}")


def _as_app_id(folder_name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder_name.lower()).strip("-")
