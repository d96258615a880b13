"""`uhlp traffic import`: recorded calls become samples."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.arguments import App, Component
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_done
from uhlp.cli.progress import counted, progress

if TYPE_CHECKING:
    from uhlp.traffic.importing import ImportedRow

BATCH = 500
_SHOWN = 10

InputFields = Annotated[
    list[str] | None, typer.Option("--input", metavar="[NAME=]FIELD", help="A field of the input; repeatable.")
]
OutputField = Annotated[
    str | None, typer.Option("--output", metavar="[NAME=]FIELD", help="The output; with NAME= as a field of an object.")
]
GoldField = Annotated[str | None, typer.Option("--gold", metavar="FIELD", help="The right answer, where it is known.")]


def import_file(
    app: App,
    component: Component,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON Lines.")],
    input_: InputFields = None,
    output: OutputField = None,
    gold: GoldField = None,
    json_: AsJson = False,
) -> None:
    """Bring calls that were recorded elsewhere in as samples of a component.

    Each line is {"input": {...}, "output": ...}, or any object from which --input and --output pick fields:
    --input text --output intent=label makes {"input": {"text": ...}, "output": {"intent": ...}}. Fields that the
    component redacts are masked.
    """
    from uhlp.cli.admin_client import AdminClient

    imported, refused, problems = 0, 0, list[dict[str, Any]]()
    rows = read_log(file, inputs=input_, output=output, gold=gold, shows=not json_)
    with AdminClient() as client, progress("importing", total=len(rows), is_shown=not json_) as bar:
        for first, batch in _batches(rows):
            samples = [
                {"input": row.input, "output": row.output, **({"gold": row.gold} if row.has_gold else {})}
                for row in batch
            ]
            answer = client.post(f"/apps/{app}/samples", {"componentId": component, "samples": samples})
            imported += answer["imported"]
            refused += answer["refused"]
            problems += [{**one, "line": rows[first + one["index"]].line} for one in answer["problems"]]
            bar.advance(len(batch))
    told = [f"imported {imported:,} sample{'' if imported == 1 else 's'} into {app}/{component}"]
    if refused:
        told.append(f"left out {refused:,} that do not match the component's schemas:")
        told += [f"  line {one['line']}: {one['path']}: {one['message']}" for one in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            told.append(f"  … and {len(problems) - _SHOWN:,} more: --json has them all")
    if imported:
        told.append(f"  next: uhlp why {app} {component}")
    result = {"appId": app, "componentId": component, "imported": imported, "refused": refused, "problems": problems}
    print_done(result, *told, as_json=json_)


def read_log(
    file: Path, *, inputs: Sequence[str] | None, output: str | None, gold: str | None = None, shows: bool
) -> "list[ImportedRow]":
    """The calls of a JSON Lines log, with fields picked as the options say: `[NAME=]FIELD`."""
    from uhlp.traffic.importing import import_rows

    names = dict(_name_and_field(one) for one in inputs or ())
    output_key, output_field = None, None
    if output is not None:
        name, output_field = _name_and_field(output)
        output_key = name if "=" in output else None
    try:
        with (
            file.open("rb") as lines,
            progress(f"reading {file.name}", total=file.stat().st_size, is_bytes=True, is_shown=shows) as bar,
        ):
            return import_rows(
                counted(lines, bar),
                input_fields=names,
                output_field=output_field,
                output_key=output_key,
                gold_field=gold,
            )
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None


def _name_and_field(option: str) -> tuple[str, str]:
    name, _, field = option.rpartition("=")
    return name or field, field


def _batches(rows: "Sequence[ImportedRow]") -> "Iterator[tuple[int, Sequence[ImportedRow]]]":
    for first in range(0, len(rows), BATCH):
        yield first, rows[first : first + BATCH]
