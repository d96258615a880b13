"""How commands print: tables for people, JSON for programs."""

import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

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
        table.add_column(column.lstrip("#"), justify="right" if column.startswith("#") else "left")
    for row in rows:
        table.add_row(*(Text("-" if value is None else str(value)) for value in row))
    console = Console()
    if table.row_count:
        console.print(table)
    else:
        console.print(empty, style="dim", highlight=False)


def print_fields(value: dict[str, Any]) -> None:
    """One line per field; nested values as compact JSON."""
    width = max((len(name) for name in value), default=0)
    for name, field in value.items():
        shown = field if isinstance(field, str) else json.dumps(field, ensure_ascii=False)
        print(f"{name:<{width}}  {shown}")
