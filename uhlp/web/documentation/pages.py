"""Markdown files as HTML pages: no scripts, one style, links between files as links between pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token

from uhlp.web.documentation.lane import DOCUMENTATION

FOLDER = Path(__file__).resolve().parents[2] / "docs"
INDEX = "index"
STYLE = (Path(__file__).parent / "documentation.css").read_text(encoding="utf-8")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · UHLP</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the text</a>
<header><a class="brand" href="{index}">UHLP</a> <span>documentation</span></header>
<div class="columns">
<nav aria-label="Pages">{contents}</nav>
<main id="content" tabindex="-1">{text}</main>
</div>
</body>
</html>
"""


@dataclass(frozen=True, slots=True)
class Page:
    """A page's title, which is its file's first heading, and its text as HTML."""

    title: str
    text: str


def html_pages(folder: Path = FOLDER) -> dict[str, bytes]:
    """Every page of the folder by its name, ready to be sent. Takes a second: not for the event loop."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}
    pages = {name: _rendered(text) for name, text in files.items()}
    return {name: _html(name, page, pages).encode() for name, page in pages.items()}


def address(name: str) -> str:
    return DOCUMENTATION if name == INDEX else f"{DOCUMENTATION}/{name}"


def _html(name: str, page: Page, pages: Mapping[str, Page]) -> str:
    contents = "".join(
        f'<a href="{address(other)}"{" aria-current=page" if other == name else ""}>{escape(pages[other].title)}</a>'
        for other in sorted(pages, key=lambda other: (other != INDEX, pages[other].title))
    )
    return _PAGE.format(title=escape(page.title), style=STYLE, index=DOCUMENTATION, contents=contents, text=page.text)


def _rendered(text: str) -> Page:
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    environment: dict[str, Any] = {}
    tokens = markdown.parse(text, environment)
    title = _give_headings_their_anchors(tokens) or "UHLP"
    for token in tokens:
        _lead_to_pages(token.children or ())
    body: str = markdown.renderer.render(tokens, markdown.options, environment)
    return Page(
        title, body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    )


def _give_headings_their_anchors(tokens: Sequence[Token]) -> str | None:
    """`## uhlp ledger verify` can be linked to as #uhlp-ledger-verify. Returns the first heading."""
    first = None
    for token, inside in pairwise(tokens):
        if token.type == "heading_open":
            first = first or inside.content
            letters = "".join(one for one in inside.content.lower() if one.isalnum() or one in " -")
            token.attrSet("id", letters.replace(" ", "-"))
    return first


def _lead_to_pages(tokens: Sequence[Token]) -> None:
    for token in tokens:
        target = str(token.attrGet("href") or "")
        file, mark, anchor = target.partition("#")
        if token.type == "link_open" and file.endswith(".md") and "/" not in file:
            token.attrSet("href", address(file.removesuffix(".md")) + mark + anchor)
