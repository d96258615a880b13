"""Tables and sentences of the reference pages."""

import inspect
import re
from collections.abc import Iterable, Sequence

_SOURCE = re.compile(r" \((?:seed|contracts)[^)]*\)")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; cells are Markdown themselves, on one line."""
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def paragraphs(docstring: str | None) -> str:
    """A docstring as Markdown: its indentation gone, lines of one paragraph joined, its source left out."""
    found = _SOURCE.sub("", inspect.cleandoc(docstring or "")).split("\n\n")
    return "\n\n".join(" ".join(one.split()) for one in found if one.strip())
