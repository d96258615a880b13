"""How commands print: tables for people, JSON for programs."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

PIPED_WIDTH = 240
"""Where nobody looks at a terminal, rows stay whole for grep."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Indented JSON on stdout, as it is: never coloured, never wrapped."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """A table; columns that begin with `#` are numbers and stand to the right. `empty` is said instead of no rows."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text("-" if value is None else str(value)) for value in row))
    console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH)
    if table.row_count:
        console.print(table)
    else:
        console.print(empty, style="dim", highlight=False)


def percent(share: float | None) -> str | None:
    """0.918 as `91.8%`."""
    return None if share is None else f"{share:.1%}"


def moment(epoch_s: float | None) -> str | None:
    """Seconds since the epoch as a local date and time, to the second."""
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M:%S")
