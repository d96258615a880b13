"""`uhlp history`: every version of a component, and what changed between two."""

from typing import Annotated, Any

import typer

from uhlp.cli.arguments import App, component_ids
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, moment, percent, print_entries, print_json, print_note


def history(
    app: App,
    component: Annotated[
        str,
        typer.Argument(metavar="[COMPONENT]", help="Component id; all of them without.", autocompletion=component_ids),
    ] = "",
    diff: Annotated[
        str, typer.Option(help="Show what changed between two versions: v1..v2, or prompt@1f2e3d..prompt.")
    ] = "",
    json_: AsJson = False,
) -> None:
    """Who put which version into service, when, why, on what evidence, and for how long it served."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        if diff:
            old, _, new = diff.partition("..")
            if not (component and old and new):
                raise CommandError(
                    "--diff compares two versions of one component", hint="uhlp history APP COMPONENT --diff v1..v2"
                )
            made = client.get(f"/apps/{app}/components/{component}/versions/diff", **{"from": old, "to": new})
            print_json(made) if json_ else print(made["diff"], end="")
            return
        names = [component] if component else _components(client.get(f"/apps/{app}"))
        found = [client.get(f"/apps/{app}/components/{name}/versions") for name in names]
    if json_:
        print_json(found)
        return
    print_entries(
        ("component", "version", "since", "#served", "#compared", "#wrong", "#coverage", "by"),
        [_entry(listed["componentId"], one) for listed in found for one in listed["versions"]],
        empty="No version has served yet.",
    )
    if any(not one["isInService"] for listed in found for one in listed["versions"]):
        print_note("* is in service.")
        print_note(f"Back to one of them: uhlp rollback {app} {component or 'COMPONENT'} --to VERSION --reason …")
    if any(listed["areVersionsLeftOut"] for listed in found):
        print_note("Older ones are left out; the ledger has them all: uhlp ledger export.")


def _components(application: dict[str, Any]) -> list[str]:
    registry = application["definition"]["initialComponentRegistry"]["components"]
    return [one["componentId"] for one in registry]


def _entry(component: str, one: dict[str, Any]) -> tuple[tuple[object, ...], str]:
    figures = one["statistics"]
    cells = (
        component,
        one["version"] + (" *" if one["isInService"] else ""),
        moment(one["at"]),
        duration(one["inServiceS"]),
        figures.get("n"),
        figures.get("k"),
        percent(figures.get("coverage")),
        one["actor"],
    )
    text = str(one["reason"])
    if one["candidateId"]:
        text = f"{one['candidateId']} at {str(one['revision'])[:12]}: {text}"
        for service in one["services"]:
            if service["event"] == "returned":
                text += f"; back {moment(service['from'])} by {service['actor']}: {service['reason']}"
            if service["until"] is not None:
                text += (
                    f"; {service['endedAs']} {moment(service['until'])} by {service['endedBy']}: {service['endReason']}"
                )
    if one["whyNotAgain"]:
        text += f". It may not serve again: {one['whyNotAgain']}"
    return cells, text


def duration(seconds: float) -> str:
    """As days and hours, or hours and minutes, or less: `2d 3h`, `4h 5m`, `6m 7s`, `8s`."""
    whole = int(seconds)
    for unit, name, below, below_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "m"), (60, "m", 1, "s")):
        if whole >= unit:
            return f"{whole // unit}{name} {whole % unit // below}{below_name}"
    return f"{whole}s"
