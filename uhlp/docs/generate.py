"""Write the reference pages from code: `python -m uhlp.docs.generate`. A test holds each page equal to it."""

from collections.abc import Callable
from pathlib import Path

from uhlp.docs.commands_page import commands_page
from uhlp.docs.endpoints_page import endpoints_page
from uhlp.docs.errors_page import errors_page
from uhlp.docs.metrics_page import metrics_page
from uhlp.docs.settings_page import settings_page

FOLDER = Path(__file__).resolve().parent

GENERATED: dict[str, Callable[[], str]] = {
    "commands": commands_page,
    "endpoints": endpoints_page,
    "errors": errors_page,
    "metrics": metrics_page,
    "settings": settings_page,
}
"""By the page's name: the function that makes its Markdown."""


def page_text(name: str) -> str:
    """The text of `<name>.md`, ending in one newline."""
    return GENERATED[name]().rstrip("\n") + "\n"


def main() -> None:
    for name in GENERATED:
        (FOLDER / f"{name}.md").write_text(page_text(name), encoding="utf-8")


if __name__ == "__main__":
    main()
