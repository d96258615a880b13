"""commands.md: every command of `uhlp` with its options, from the commands themselves."""

from collections.abc import Iterator
from typing import Any

import typer

from uhlp.cli.app import app
from uhlp.docs.markdown_table import code, paragraphs, table

_HEAD = """\
# Commands

`uhlp COMMAND --help` says the same. Commands that ask a server find it by `--url` or `UHLP_URL`
(http://127.0.0.1:8080), and bring `--token`, `UHLP_ADMIN_TOKEN` or the token in `UHLP_DATA_DIR` (`uhlp-data`); both
options stand before the command. What a command prints with `--json` is for programs and keeps its form: one value on
standard output (`uhlp logs --follow`: one a line). An expected failure is one line on standard error, with a hint; with
`--json` it is `{"error": {code, message, retryable, details, traceId, hint}}` there: what the server answered
([errors](errors.md)), or `COMMAND_FAILED` and `SERVER_NOT_ASKED` of the command itself. A command line that is not
understood is told in words. How far long work has come is shown on standard error, in a terminal alone.

| exit status | means |
|---|---|
| 0 | done |
| 1 | not so, not complete or refused |
| 2 | the command line was not understood |
| 3 | the server is away, or takes no token of yours |
| 130 | interrupted |

`uhlp --install-completion` completes commands, options, and the names of applications, components and candidates in
your shell.

"""


def commands_page() -> str:
    found = list(commands(typer.main.get_command(app), "uhlp"))
    overview = table(
        ("command", "does"), [(f"[`{name}`](#{_anchor(name)})", _first_sentence(one.help)) for name, one in found]
    )
    return _HEAD + overview + "".join(_section(name, command) for name, command in found)


def commands(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below `group` with its full name, such as `uhlp ledger verify`. Typer's own classes, untyped."""
    for word, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def _section(name: str, command: Any) -> str:
    usage = " ".join((name, *command.collect_usage_pieces(typer.Context(command, info_name=name))))
    section = f"\n## {name}\n\n{paragraphs(command.help)}\n\n```\n{usage}\n```\n"
    rows = [(_spelling(one), paragraphs(one.help), _default(one)) for one in command.params if not one.hidden]
    if rows:
        section += "\n" + table(("argument or option", "means", "default"), rows)
    return section


def _spelling(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return code(parameter.metavar or parameter.name.upper())
    return ", ".join(code(one) for one in (*parameter.opts, *parameter.secondary_opts))


def _default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    default = parameter.default
    if callable(default) or default is None or default is False or default in ("", (), []):
        return ""
    return code(str(default))


def _first_sentence(text: str | None) -> str:
    return paragraphs(text).split(". ")[0].rstrip(".") + "."


def _anchor(name: str) -> str:
    return name.replace(" ", "-")
