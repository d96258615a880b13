"""All commands of `uhlp`, by subject."""

from collections.abc import Callable, Mapping
from inspect import getdoc
from typing import Annotated, Any

import typer

from uhlp.cli import (
    adjudication,
    bench,
    candidates,
    compress,
    config,
    decisions,
    definitions,
    demo,
    diff,
    estimate,
    evals,
    executions,
    history,
    keys,
    ledger,
    logs,
    metrics,
    money,
    overrides,
    queues,
    sandbox,
    sandboxes,
    serve,
    settings,
    starter,
    status,
    tokens,
    tools,
    traffic,
)
from uhlp.cli.admin_client import ASKS_A_SERVER
from uhlp.cli.arguments import point_at
from uhlp.cli.default_command import DefaultCommand
from uhlp.cli.failure import EXIT_STATUSES
from uhlp.cli.former_names import FormerNames

app = typer.Typer(
    name="uhlp",
    cls=FormerNames,
    help="Endpoints that start as prompts and become code when they have earned it.",
    epilog="First steps: `uhlp demo` shows everything in two minutes. Of your own: `uhlp serve`, then "
    "`uhlp init my-app` and `uhlp apply my-app`; without a key for a model, `uhlp simulate-model`. "
    f"What of a log could be code: `uhlp estimate LOG`.\n\n{EXIT_STATUSES}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from uhlp.version import own_version

        print(f"uhlp {own_version()}")
        raise typer.Exit


@app.callback()
def connection(
    url: Annotated[str | None, typer.Option(metavar="URL", help="The server to ask.", envvar="UHLP_URL")] = None,
    token: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="An admin token of it.", envvar="UHLP_ADMIN_TOKEN")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Which server the commands ask."""
    point_at(url, token)


BEGIN, SEE, DECIDE, CHECK, ADMINISTER = "Begin", "See", "Decide", "Check and improve", "Administer"
"""The groups of commands that `uhlp --help` shows, in this order."""


def _flowing(command: Callable[..., None]) -> str:
    """The docstring of a command with each paragraph on one line, which the terminal's width alone breaks."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (getdoc(command) or "").split("\n\n"))


def _add(group: str, *commands: Callable[..., None], asks: bool = True) -> None:
    """Commands of a group; those that ask a server say which one at the end of their help."""
    for command in commands:
        epilog = ASKS_A_SERVER if asks else None
        app.command(rich_help_panel=group, help=_flowing(command), epilog=epilog)(command)


def _add_group(group: str, name: str, help_: str, commands: Mapping[str, Callable[..., None]], **more: Any) -> None:
    """A command that has commands of its own."""
    typer_ = typer.Typer(help=help_, no_args_is_help=True, **more)
    for word, command in commands.items():
        typer_.command(word, help=_flowing(command), epilog=ASKS_A_SERVER)(command)
    app.add_typer(typer_, name=name, rich_help_panel=group)


_add(BEGIN, demo.demo, estimate.estimate, serve.serve, demo.simulate_model, starter.init, asks=False)
_add(BEGIN, definitions.apply, diff.diff)
_add(SEE, status.status, candidates.why, candidates.candidates, candidates.show, history.history)
_add(SEE, money.recommendations, money.savings, money.usage, executions.executions, queues.queues, tools.tools)
_add(SEE, logs.logs)
_add(SEE, metrics.metrics, asks=False)
_add(DECIDE, candidates.optimize, candidates.approve, candidates.reject, decisions.promote_full, candidates.rollback)
_add(DECIDE, decisions.quarantine, decisions.pause, decisions.resume)
_add(DECIDE, adjudication.adjudications, adjudication.adjudicate)
_add_group(
    DECIDE,
    "ledger",
    "The hash-chained history of decisions.",
    {"show": ledger.show, "export": ledger.export, "verify": ledger.verify},
)
_add_group(DECIDE, "evolution", "How components change their implementation.", {"config": config.evolution_config})
_add_group(
    CHECK,
    "eval",
    "Components against what is known to be right: uhlp eval APP COMPONENT.",
    {"run": evals.run, "compare": evals.compare, "list": evals.list_evals, "cancel": evals.cancel},
    cls=DefaultCommand,
)
_add_group(CHECK, "traffic", "Recorded traffic of components.", {"import": traffic.import_file})
_add(CHECK, compress.compress, compress.compressions, overrides.overrides)
_add(ADMINISTER, settings.settings, config.config)
_add_group(
    ADMINISTER,
    "keys",
    "Who may call an application.",
    {"create": keys.create, "list": keys.list_keys, "delete": keys.delete},
)
_add_group(
    ADMINISTER,
    "tokens",
    "Who may administer the server, and as what.",
    {"create": tokens.create, "list": tokens.list_tokens, "delete": tokens.delete},
)

_sandbox = typer.Typer(help="Sandboxes and their image.", no_args_is_help=True)
_sandbox.command("build-image", help=_flowing(sandbox.build_image))(sandbox.build_image)
_sandbox.command("list", help=_flowing(sandboxes.list_sandboxes), epilog=ASKS_A_SERVER)(sandboxes.list_sandboxes)
app.add_typer(_sandbox, name="sandbox", rich_help_panel=ADMINISTER)

_bench = typer.Typer(help="What UHLP claims of itself, measured.", no_args_is_help=True)
_bench.command("governor", help=_flowing(bench.governor))(bench.governor)
app.add_typer(_bench, name="bench", rich_help_panel=CHECK)
