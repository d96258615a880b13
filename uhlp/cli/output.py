"""How commands print: tables for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

PIPED_WIDTH = 240
"""Where nobody looks at a terminal, rows stay whole for grep."""

WIDEST = 10_000

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Indented JSON on stdout, as it is: never coloured, never wrapped."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, folds: str = "") -> None:
    """A table; columns that begin with `#` are numbers and stand to the right. `empty` is said instead of no rows.

    Cells stay on one line, so that an id can be copied and found; only the column `folds` is broken to the width.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    shown = [[_cell(value) for value in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for at, column in enumerate(columns):
        head, is_whole = column.lstrip("#"), column != folds
        table.add_column(
            head,
            justify="right" if column.startswith("#") else "left",
            overflow="fold",
            no_wrap=is_whole,
            min_width=max(cell_len(cell) for cell in [head, *(row[at] for row in shown)]) if is_whole else None,
        )
    for row in shown:
        table.add_row(*map(Text, row))
    console = _console()
    if table.row_count:
        least = Measurement.get(console, console.options.update(max_width=WIDEST), table).minimum
        console.width = max(console.width, least)
        console.print(table)
    else:
        console.print(empty, style="dim", highlight=False)


def print_entries(columns: Sequence[str], entries: Iterable[tuple[Sequence[object], str]], *, empty: str) -> None:
    """A table whose rows have text of any length beneath them, broken at the width of the terminal."""
    from textwrap import wrap

    from rich.text import Text

    shown = [([_cell(value) for value in cells], text) for cells, text in entries]
    console = _console()
    if not shown:
        console.print(empty, style="dim", highlight=False)
        return
    head = [column.lstrip("#") for column in columns]
    widths = [max(len(cells[at]) for cells in [head, *(cells for cells, _ in shown)]) for at in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (
            cell.rjust(width) if column.startswith("#") else cell.ljust(width)
            for cell, width, column in zip(cells, widths, columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    console.print(Text(line(head), style="bold"), soft_wrap=True)
    for cells, text in shown:
        console.print(Text(line(cells)), soft_wrap=True)
        for part in wrap(text, console.width - 4):
            console.print(Text(f"    {part}", style="dim"), soft_wrap=True)


def print_note(text: str) -> None:
    """A line beneath a table, whole, as it is."""
    from rich.text import Text

    _console().print(Text(text), soft_wrap=True)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def percent(share: float | None) -> str | None:
    """0.918 as `91.8%`."""
    return None if share is None else f"{share:.1%}"


def moment(epoch_s: float | None) -> str | None:
    """Seconds since the epoch as a local date and time, to the second."""
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M:%S")
