"""`uhlp init`: an application to begin with: from a template, a description, or a prompt with an example."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from uhlp.cli.failure import CommandError, place_of
from uhlp.cli.given_files import text_of
from uhlp.cli.output import AsJson, print_done
from uhlp.cli.progress import progress

_DRAFT_WITHIN_S = 240.0


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it; must not hold files yet.")],
    name: Annotated[
        str | None,
        typer.Option(help="Application id: lower-case letters, digits, dashes. By default the folder's name."),
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Begin with: tickets (commented, the default), classify, extract, summarise.")
    ] = None,
    describe: Annotated[
        str | None, typer.Option(help="What it is to do; the server's model drafts it, a template stands in for one.")
    ] = None,
    prompt: Annotated[Path | None, typer.Option(help="A file with a prompt; with --example.")] = None,
    example: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two JSON files: an input and the right output, or a list of each.", metavar="IN OUT"),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Write an application that `uhlp apply` accepts: look at it, change it, apply it."""
    app_id = name or _as_app_id(folder.absolute().name)
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,62}", app_id):
        raise CommandError(
            f"{app_id!r} is no application id",
            hint="lower-case letters, digits and dashes, first a letter: --name my-app",
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CommandError(f"{folder} is not an empty folder", hint="name a new one; nothing is written over")
    if (prompt is None) != (example is None):
        raise CommandError("--prompt and --example belong together", hint="--prompt p.txt --example in.json out.json")
    if prompt is not None and (describe is not None or template is not None):
        raise CommandError("a prompt is given: leave --describe and --template out")
    problems: list[dict[str, Any]] = []
    if prompt is not None and example is not None:
        files, source = _by_example(app_id, prompt, *example), "example"
        told = [f"wrote {app_id} to {folder}, with schemas that fit the example"]
    elif describe is not None:
        with progress("the server drafts it", is_shown=not json_):
            draft = _draft(app_id, describe, template)
        files, source, problems = draft["files"], draft["source"], draft["problems"]
        told = _about_draft(folder, app_id, draft)
    else:
        files, source = _template(template, app_id), "template"
        told = [f"wrote {app_id} to {folder}"]
    _write(folder, files)
    result = {"appId": app_id, "folder": str(folder), "source": source, "files": list(files), "problems": problems}
    print_done(result, *told, f"  next: uhlp apply {quote(str(folder))}", as_json=json_)
    for problem in problems if not json_ else ():
        print(f"problem: {place_of(problem)}{problem['message']}", file=sys.stderr)


def _template(name: str | None, app_id: str) -> dict[str, str]:
    from uhlp.authoring.templates_of_applications import TEMPLATES, template_files

    if name not in (None, *TEMPLATES):
        raise CommandError(f"there is no template {name}", hint=f"one of {', '.join(TEMPLATES)}")
    return template_files(name or TEMPLATES[0], app_id)


def _draft(app_id: str, description: str, template: str | None) -> dict[str, Any]:
    """The server's draft, problems or not: whoever looks at it mends them."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient(timeout_s=_DRAFT_WITHIN_S) as client:
        told = client.post("/drafts", {"description": description, "template": template})
    files: dict[str, str] = told["files"]
    files["app.yaml"] = re.sub(r"(?m)^appId:.*$", f"appId: {app_id}", files["app.yaml"], count=1)
    return told


def _about_draft(folder: Path, app_id: str, draft: Mapping[str, Any]) -> list[str]:
    by = "a model" if draft["source"] == "model" else f"the template {draft['template']}; no model was asked"
    told = [f"drafted {app_id} in {folder}, by {by}", *(f"  {path}" for path in draft["files"])]
    told.append("  look at every file: nothing is registered yet")
    if not re.search(r"(?m)^public:", draft["files"]["app.yaml"]):  # a description may hold the word, too
        told.append("  its routes need a key; `public: true` in app.yaml opens them while you try it")
    return told


def _by_example(app_id: str, prompt: Path, given: Path, right: Path) -> dict[str, str]:
    from uhlp.authoring.example_application import application_of
    from uhlp.errors import UhlpError

    inputs, outputs = _json(given), _json(right)
    if not isinstance(inputs, list):
        inputs, outputs = [inputs], [outputs]
    if not isinstance(outputs, list) or len(outputs) != len(inputs):
        raise CommandError(f"{right} holds another number of outputs than {given} inputs")
    try:
        return application_of(app_id, text_of(prompt), list(zip(inputs, outputs, strict=True)))
    except UhlpError as error:
        raise CommandError(error.message) from None


def _json(path: Path) -> Any:
    from uhlp import strict_json
    from uhlp.errors import UhlpError

    try:
        return strict_json.loads(text_of(path).encode(), subject=str(path))
    except UhlpError as error:
        raise CommandError(error.message) from None


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write below the folder alone: a draft comes from a model."""
    for path, text in files.items():
        target = folder / path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise CommandError(f"the draft holds a file outside its folder: {path[:80]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


def _as_app_id(folder_name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", folder_name.lower()).strip("-")
