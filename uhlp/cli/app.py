"""All commands of `uhlp`, by subject."""

import typer

from uhlp.cli import candidates, definitions, demo, estimate, ledger, serve, settings, starter, status, traffic

app = typer.Typer(
    name="uhlp",
    help="Endpoints that start as prompts and become code when they have earned it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(demo.simulate_model)
app.command()(starter.init)
app.command()(definitions.apply)
app.command()(status.status)
app.command()(candidates.candidates)
app.command()(candidates.why)
app.command()(candidates.optimize)
app.command()(candidates.rollback)
app.command()(estimate.estimate)
app.command()(settings.settings)

_traffic = typer.Typer(help="Recorded traffic of components.", no_args_is_help=True)
_traffic.command("import")(traffic.import_file)
app.add_typer(_traffic, name="traffic")

_ledger = typer.Typer(help="The hash-chained history of decisions.", no_args_is_help=True)
_ledger.command("show")(ledger.show)
_ledger.command("verify")(ledger.verify)
app.add_typer(_ledger, name="ledger")
