"""`uhlp config` and `uhlp evolution config`: what people change while the server runs."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from uhlp.cli.failure import CommandError
from uhlp.cli.given_files import parsed_json, text_of
from uhlp.cli.nearest import nearest
from uhlp.cli.output import AsJson, moment, print_json, print_note, print_table

Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Set this; may be repeated.")]
Reset = Annotated[
    list[str] | None, typer.Option("--reset", metavar="NAME", help="Give this back to file and environment.")
]
Reason = Annotated[str, typer.Option(help="Why, for the ledger. Needed for a change.")]


def evolution_config(
    set_: Set = None,
    reset: Reset = None,
    reason: Reason = "",
    changed: Annotated[bool, typer.Option("--changed", help="Show only what differs from its default.")] = False,
    json_: AsJson = False,
) -> None:
    """The governor's numbers: value, bounds, where each comes from. --set changes them while the server runs."""
    from uhlp.cli.admin_client import AdminClient

    changes = _pairs(set_)
    with AdminClient() as client:
        if changes or reset:
            _check_names([*changes, *(reset or ())], client.get("/evolution/config")["numbers"])
            body = {"changes": changes, "reset": reset or [], "reason": _given(reason)}
            found = client.put("/evolution/config", body)
        else:
            found = client.get("/evolution/config")
    if json_:
        print_json(found)
        return
    touched = {*changes, *(reset or ())}
    shown = {
        name: one
        for name, one in found["numbers"].items()
        if (not touched or name in touched) and (not changed or one["value"] != one["default"])
    }
    print_table(
        ("number", "#value", "unit", "#default", "allowed", "from"),
        [
            (name, _text(one["value"]), one["unit"], _text(one["default"]), one["allowed"], _origin(one))
            for name, one in shown.items()
        ],
        empty="Every number has its default.",
        folds="from",
    )


def config(
    set_: Set = None,
    rules: Annotated[
        Path | None, typer.Option(help="A file with the rules that hold for every application: a JSON list.")
    ] = None,
    reset: Annotated[
        list[str] | None,
        typer.Option("--reset", metavar="NAME", help="configuration or optimization.rules: back to file and defaults."),
    ] = None,
    reason: Reason = "",
    json_: AsJson = False,
) -> None:
    """What holds for every application: configuration and optimization rules. --set changes a key of the first."""
    from uhlp.cli.admin_client import AdminClient

    changes = _pairs(set_)
    with AdminClient() as client:
        found = client.get("/config")
        if changes or rules or reset:
            body: dict[str, Any] = {"reset": reset or [], "reason": _given(reason)}
            if changes:
                body["configuration"] = {**found["configuration"]["value"], **changes}
            if rules:
                body["rules"] = _rules(rules)
            found = client.put("/config", body)
    if json_:
        print_json(found)
        return
    configuration, every = found["configuration"], found["optimization.rules"]
    print_table(
        ("key", "value"),
        [(name, _text(value)) for name, value in configuration["value"].items()],
        empty="No configuration holds for every application.",
        folds="value",
    )
    print_table(
        ("rule", "condition", "action"),
        [(one["description"] or "-", one["condition"]["expression"], one["action"]) for one in every["value"]],
        empty="No rule holds for every application.",
        folds="condition",
    )
    print_note(f"configuration: {_origin(configuration)}; rules: {_origin(every)}")


def _check_names(given: Iterable[str], numbers: Iterable[str]) -> None:
    """A slip of the pen is told with the number that was probably meant."""
    known = list(numbers)
    for name in given:
        if name not in known:
            meant = nearest(name, known)
            raise CommandError(
                f"there is no number {name}",
                hint=f"{f'did you mean {meant}? ' if meant else ''}`uhlp evolution config` lists every number",
            )


def _pairs(given: list[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` each; a value is JSON, else a text."""
    pairs: dict[str, Any] = {}
    for one in given or ():
        name, separator, text = one.partition("=")
        if not (separator and name.strip()):
            raise CommandError(f"{one!r} is no NAME=VALUE", hint="for example --set canary.min_step_s=120")
        try:
            pairs[name.strip()] = json.loads(text)
        except ValueError:
            pairs[name.strip()] = text
    return pairs


def _given(reason: str) -> str:
    if not reason.strip():
        raise CommandError("a change needs a reason", hint="--reason …: it goes into the ledger")
    return reason


def _rules(file: Path) -> list[Any]:
    example = 'a JSON list, such as [{"condition": {"expression": "count(requests) > 600"}}]'
    found = parsed_json(text_of(file, hint=example), str(file), hint=example)
    if not isinstance(found, list):
        raise CommandError(f"{file} holds no list", hint=example)
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _origin(one: dict[str, Any]) -> str:
    if one["changedBy"] is None:
        return str(one["origin"])
    return f"{one['origin']}: {one['changedBy']}, {moment(one['changedAt'])}: {one['reason']}"
