"""`uhlp adjudications` and `uhlp adjudicate`: questions that only a person can settle."""

import json
import re
from typing import Annotated

import typer

from uhlp.cli.arguments import App, Component
from uhlp.cli.failure import CommandError
from uhlp.cli.given_files import parsed_json
from uhlp.cli.output import AsJson, moment, print_done, print_entries, print_json

_SHOWN = 300


def adjudications(app: App, component: Component, json_: AsJson = False) -> None:
    """What waits for a person to say who is right, and what has been said."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get(f"/apps/{app}/adjudications", componentId=component)
    if json_:
        print_json(found)
        return
    print_entries(
        ("input", "asked", "candidate", "stage"),
        [
            (
                (one["inputHash"], moment(one["ts"]), one["candidateId"], one["stage"]),
                f"{_json(one['input'])}\nhandler: {_json(one['got'])}\n"
                + "\n".join(f"model: {_json(answer)}" for answer in one["answers"]),
            )
            for one in found["questions"]
        ],
        empty="Nothing waits for a person.",
    )
    if found["adjudications"]:
        print_entries(
            ("input", "said", "by"),
            [
                (
                    (one["inputHash"], moment(one["ts"]), one["actor"]),
                    f"{_json(one['input'])} → {_json(one['expected'])}",
                )
                for one in found["adjudications"]
            ],
            empty="",
        )


def adjudicate(
    app: App,
    component: Component,
    expected: Annotated[str, typer.Argument(metavar="EXPECTED", help="The right output, as JSON.")],
    input_hash: Annotated[
        str | None, typer.Option("--input", metavar="HASH", help="The input of a question; `uhlp adjudications`.")
    ] = None,
    sample: Annotated[str | None, typer.Option("--sample", metavar="ID", help="Or a sample's id.")] = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    json_: AsJson = False,
) -> None:
    """Say what is right for an input: the reference from now on, above every model."""
    from uhlp.cli.admin_client import AdminClient

    if (input_hash is None) == (sample is None):
        raise CommandError(
            "name the input: either --input or --sample", hint=f"`uhlp adjudications {app} {component}` lists inputs"
        )
    if input_hash is not None and not re.fullmatch("[0-9a-f]{64}", input_hash):
        raise CommandError(
            f"{input_hash!r} is no input: it has 64 hexadecimal digits",
            hint=f"`uhlp adjudications {app} {component}` lists inputs",
        )
    value = parsed_json(expected, "EXPECTED", hint="a text stands in quotes: '\"billing\"'")
    with AdminClient() as client:
        if sample is not None:
            answer = client.post(f"/apps/{app}/samples/{sample}/adjudicate", {"expected": value, "reason": reason})
        else:
            body = {"componentId": component, "inputHash": input_hash, "expected": value, "reason": reason}
            answer = client.post(f"/apps/{app}/adjudications", body)
    print_done(
        answer,
        f"{answer['appId']}/{answer['componentId']}: right for input {answer['inputHash'][:16]} from now on",
        *(f"  {effect['candidateId']}: {effect['effect']}" for effect in answer["effects"]),
        *(["  a golden example covers this input and still decides"] if answer["standsBelowGolden"] else []),
        as_json=json_,
    )


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
