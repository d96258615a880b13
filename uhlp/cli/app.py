"""All commands of `uhlp`, by subject."""

import os
from typing import Annotated

import typer

from uhlp.cli import (
    adjudication,
    bench,
    candidates,
    compress,
    config,
    definitions,
    demo,
    estimate,
    evals,
    executions,
    history,
    ledger,
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
from uhlp.cli.default_command import DefaultCommand

app = typer.Typer(
    name="uhlp",
    help="Endpoints that start as prompts and become code when they have earned it.",
    epilog="First steps: `uhlp demo` shows everything in two minutes. Of your own: `uhlp serve`, then "
    "`uhlp init my-app` and `uhlp apply my-app`; without a key for a model, `uhlp simulate-model`. "
    "What of a log could be code: `uhlp estimate LOG`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"uhlp {version('uhlp')}")
        except PackageNotFoundError:
            print("uhlp, a checkout that is not installed")
        raise typer.Exit


@app.callback()
def connection(
    url: Annotated[str | None, typer.Option(help="The server to ask.", envvar="UHLP_URL")] = None,
    token: Annotated[str | None, typer.Option(help="An admin token of it.", envvar="UHLP_ADMIN_TOKEN")] = None,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Which server the commands ask."""
    for variable, value in (("UHLP_URL", url), ("UHLP_ADMIN_TOKEN", token)):
        if value:
            os.environ[variable] = value


app.command()(serve.serve)
app.command()(demo.demo)
app.command()(demo.simulate_model)
app.command()(starter.init)
app.command()(estimate.estimate)
app.command()(metrics.metrics)
for asks_a_server in (
    definitions.apply,
    status.status,
    candidates.candidates,
    candidates.show,
    candidates.why,
    money.recommendations,
    money.savings,
    money.usage,
    candidates.optimize,
    candidates.approve,
    candidates.reject,
    candidates.rollback,
    history.history,
    executions.executions,
    overrides.overrides,
    compress.compress,
    compress.compressions,
    queues.queues,
    tools.tools,
    adjudication.adjudications,
    adjudication.adjudicate,
    settings.settings,
    config.config,
):
    app.command(epilog=ASKS_A_SERVER)(asks_a_server)

_eval = typer.Typer(
    help="Components against what is known to be right: uhlp eval APP COMPONENT.",
    cls=DefaultCommand,
    no_args_is_help=True,
)
_eval.command("run", epilog=ASKS_A_SERVER)(evals.run)
_eval.command("compare", epilog=ASKS_A_SERVER)(evals.compare)
_eval.command("list", epilog=ASKS_A_SERVER)(evals.list_evals)
app.add_typer(_eval, name="eval")

_traffic = typer.Typer(help="Recorded traffic of components.", no_args_is_help=True)
_traffic.command("import", epilog=ASKS_A_SERVER)(traffic.import_file)
app.add_typer(_traffic, name="traffic")

_ledger = typer.Typer(help="The hash-chained history of decisions.", no_args_is_help=True)
_ledger.command("show", epilog=ASKS_A_SERVER)(ledger.show)
_ledger.command("export", epilog=ASKS_A_SERVER)(ledger.export)
_ledger.command("verify", epilog=ASKS_A_SERVER)(ledger.verify)
app.add_typer(_ledger, name="ledger")

_evolution = typer.Typer(help="How components change their implementation.", no_args_is_help=True)
_evolution.command("config", epilog=ASKS_A_SERVER)(config.evolution_config)
app.add_typer(_evolution, name="evolution")

_token = typer.Typer(help="Who may administer the server, and as what.", no_args_is_help=True)
_token.command("create", epilog=ASKS_A_SERVER)(tokens.create)
_token.command("list", epilog=ASKS_A_SERVER)(tokens.list_tokens)
_token.command("delete", epilog=ASKS_A_SERVER)(tokens.delete)
app.add_typer(_token, name="token")

_sandbox = typer.Typer(help="Sandboxes and their image.", no_args_is_help=True)
_sandbox.command("build-image")(sandbox.build_image)
_sandbox.command("list", epilog=ASKS_A_SERVER)(sandboxes.list_sandboxes)
app.add_typer(_sandbox, name="sandbox")

_bench = typer.Typer(help="What UHLP claims of itself, measured.", no_args_is_help=True)
_bench.command("governor")(bench.governor)
app.add_typer(_bench, name="bench")
