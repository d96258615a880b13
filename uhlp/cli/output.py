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

_MOST_DIGITS = 4
_BETWEEN = 3
"""Spaces around a column of a table, by the box that it is drawn in."""

_FOLDED = 20
"""What a column that may be broken needs at least."""

NO_PRICE = "no price"
_MOST_PLACES = 9

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """Indented JSON on stdout, as it is: never coloured, never wrapped."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_done(answer: Any, *lines: str, as_json: bool) -> None:
    """What a command that acts has done: what the server answered as JSON, or `lines` for people, as they are."""
    if as_json:
        print_json(answer)
        return
    for line in lines:
        print(line)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str, folds: str = "") -> None:
    """A table; columns that begin with `#` are numbers and stand to the right. `empty` is said instead of no rows.

    Cells stay on one line, so that an id can be copied and found; only the column `folds` is broken to the width. In a
    terminal too narrow for them all, the last columns stand beneath each row.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    shown = [[_cell(value) for value in row] for row in rows]
    console = _console()
    heads = [column.lstrip("#") for column in columns]
    widths = [max(cell_len(cell) for cell in (head, *(row[at] for row in shown))) for at, head in enumerate(heads)]
    folded = [_FOLDED if column == folds else width for column, width in zip(columns, widths, strict=True)]
    if shown and sum(folded) + _BETWEEN * len(folded) > console.width:
        print_entries(columns, [(row, "") for row in shown], empty=empty)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, head, width in zip(columns, heads, widths, strict=True):
        is_whole = column != folds
        table.add_column(
            head,
            justify="right" if column.startswith("#") else "left",
            overflow="fold",
            no_wrap=is_whole,
            min_width=width if is_whole else None,
        )
    for row in shown:
        table.add_row(*map(Text, row))
    if shown:
        console.print(table)
    else:
        console.print(Text(empty, style="dim"))


def print_entries(columns: Sequence[str], entries: Iterable[tuple[Sequence[object], str]], *, empty: str) -> None:
    """A table whose rows have text of any length beneath them, broken at the width of the terminal.

    Columns for which the terminal is too narrow stand beneath, too, each with its name.
    """
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    shown = [([_cell(value) for value in cells], text) for cells, text in entries]
    console = _console()
    if not shown:
        console.print(Text(empty, style="dim"))
        return
    heads = [column.lstrip("#") for column in columns]
    widths = [
        max(cell_len(cell) for cell in (head, *(cells[at] for cells, _ in shown))) for at, head in enumerate(heads)
    ]
    fit = next((at for at in range(len(widths), 1, -1) if sum(widths[:at]) + 2 * (at - 1) <= console.width), 1)

    def line(cells: Sequence[str]) -> str:
        padded = (
            " " * (width - cell_len(cell)) + cell if column.startswith("#") else set_cell_size(cell, width)
            for cell, width, column in zip(cells[:fit], widths, columns, strict=False)
        )
        return "  ".join(padded).rstrip()

    console.print(Text(line(heads), style="bold"), soft_wrap=True)
    for cells, text in shown:
        console.print(Text(line(cells)), soft_wrap=True)
        beneath = ", ".join(f"{head} {cell}".strip() for head, cell in zip(heads[fit:], cells[fit:], strict=True))
        for part in (*_wrapped(beneath, console.width - 4), *_wrapped(text, console.width - 4)):
            console.print(Text(f"    {part}", style="dim"), soft_wrap=True)


def print_note(text: str) -> None:
    """A line of text, as it is; in a terminal it is broken between words, and goes on two columns further in."""
    from rich.text import Text

    console = _console()
    if not is_terminal():
        console.print(Text(text), soft_wrap=True)
        return
    begin = text[: len(text) - len(text.lstrip(" "))]
    for at, part in enumerate(_wrapped(text.lstrip(" "), console.width - len(begin) - 2) or [""]):
        console.print(Text(f"{begin}{'  ' if at else ''}{part}"), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Broken between words; a word that is wider stays whole, so that it can be copied."""
    from textwrap import wrap

    return wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)


def _console() -> "Console":
    from rich.console import Console

    return Console(width=None if is_terminal() else PIPED_WIDTH)


def is_terminal() -> bool:
    """Whether somebody looks at a terminal, or said how wide one is."""
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def _cell(value: object) -> str:
    return "-" if value is None else str(value)


def percent(share: float | None) -> str | None:
    """0.918 as `91.8%`; with more digits where it would be shown as none or all and is not: 0.0003 as `0.03%`."""
    if share is None:
        return None
    digits = 1
    while digits < _MOST_DIGITS and 0 < share < 1 and round(share, digits + 2) in (0, 1):
        digits += 1
    return f"{share:.{digits}%}"


def cost(usd: float | None, *, tokens: int, unpriced_calls: int | None = None) -> str | None:
    """What so many tokens cost, to four places, or more where that would say nothing. A price that nobody knows counts
    nothing in sums, and is not free: `unpriced_calls` had none, and None says that they were not counted."""
    if usd is None:
        return None
    if not usd:
        return NO_PRICE if tokens and unpriced_calls != 0 else "$0.0000"
    places = 4
    while usd < 10.0**-places and places < _MOST_PLACES:
        places += 1
    return f"${usd:,.{places}f}"


def moment(epoch_s: float | None) -> str | None:
    """Seconds since the epoch as a local date and time, to the second."""
    return None if epoch_s is None else datetime.fromtimestamp(epoch_s).strftime("%Y-%m-%d %H:%M:%S")
