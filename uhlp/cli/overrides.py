"""`uhlp overrides`: what stands in the place of a prompt's sections."""

from typing import Annotated, Any

import typer

from uhlp.cli.arguments import App, Prompt
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, moment, print_done, print_entries, print_json


def overrides(
    app: App,
    prompt: Prompt,
    diff: Annotated[str, typer.Option(metavar="FROM..TO", help="Between two tags; `source` is the file.")] = "",
    history: Annotated[str, typer.Option(metavar="TAG", help="The sets of a tag, newest first.")] = "",
    restore: Annotated[
        str, typer.Option(metavar="TAG@REVISION", help="Put an earlier set back; TAG@none: no set.")
    ] = "",
    reason: Annotated[str, typer.Option(help="Why, for the commit.")] = "restored by hand",
    json_: AsJson = False,
) -> None:
    """Overrides of a prompt's sections, by tag. Those under `stable` serve."""
    from uhlp.cli.admin_client import AdminClient

    place = f"/apps/{app}/prompts/{prompt}/overrides"
    with AdminClient() as client:
        if restore:
            tag, _, revision = restore.partition("@")
            if not revision:
                raise CommandError("--restore takes TAG@REVISION", hint=f"uhlp overrides {app} {prompt} --history TAG")
            body = {"revision": None if revision == "none" else revision, "reason": reason}
            answer = client.post(f"{place}/{tag}/restore", body)
            print_done(answer, f"{prompt}@{tag} is at {answer['revision'] or 'no set'}", as_json=json_)
            return
        if diff:
            old, _, new = diff.partition("..")
            found = client.get(f"{place}/diff", **{"from": old, "to": new or "stable"})
            print_done(found, found["diff"] or "no difference", as_json=json_)
            return
        found = client.get(f"{place}/{history}/history" if history else place)
    if json_:
        print_json(found)
        return
    key, empty = ("revision", "No set has stood under this tag.") if history else ("tag", _as_its_file(prompt, found))
    print_entries(
        (key, "revision", "made", "sections") if key == "tag" else (key, "made", "sections"),
        [(_cells(one), _why(one)) for one in found["versions" if history else "sets"]],
        empty=empty,
    )


def _cells(one: dict[str, Any]) -> tuple[object, ...]:
    cells = (one["revision"], moment(one["createdAt"]), ", ".join(one["sections"]))
    return (one["tag"], *cells) if "tag" in one else cells


def _as_its_file(prompt: str, found: dict[str, Any]) -> str:
    sections = ", ".join(one["key"] for one in found.get("sections", ()))
    return f"{prompt} is served as its file has it. Its sections: {sections}."


def _why(one: dict[str, Any]) -> str:
    said = one.get("provenance") or {}
    stale = f" STALE: {', '.join(one['stale'])}" if one.get("stale") else ""
    return ", ".join(f"{name} {value}" for name, value in said.items()) + stale
