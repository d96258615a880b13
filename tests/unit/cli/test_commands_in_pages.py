"""Every command line that a README or a page shows is one that `uhlp` knows."""

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from uhlp.cli.app import app

CHECKOUT = Path(__file__).resolve().parents[3]
WITH_COMMANDS = ("daily", "deployment", "observing", "prompts", "providers", "workflows")
PAGES = [
    CHECKOUT / "README.md",
    *sorted((CHECKOUT / "uhlp" / "demo").glob("*/README.md")),
    *(CHECKOUT / "uhlp" / "docs" / f"{name}.md" for name in WITH_COMMANDS),
]
_LINE = re.compile(r"^(?: {4}|\$ )?(uhlp [a-z].*)$", re.MULTILINE)


def lines_of(page: Path) -> list[str]:
    """The command lines of a page, without comments and what the shell does with them."""
    found = (re.split(r"\s#|[>|&;]", line)[0].strip() for line in _LINE.findall(page.read_text(encoding="utf-8")))
    return [line for line in found if line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_commands_and_their_options_exist(page: Path) -> None:
    lines = lines_of(page)
    assert lines
    for line in lines:
        words = shlex.split(line)[1:]
        command = get_command(app)
        while hasattr(command, "commands"):
            inner = command.commands.get(words[0]) or command.commands.get("run")
            assert inner is not None, line
            words = words[1:] if words[0] in command.commands else words
            command = inner
        options = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in options]
        assert not unknown, line
