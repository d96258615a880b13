"""`uhlp estimate`: what of a log could be answered without a model."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uhlp.cli.failure import CommandError
from uhlp.cli.output import NO_PRICE, AsJson, is_terminal, percent, print_json, print_table
from uhlp.cli.progress import progress
from uhlp.cli.traffic import GoldField, InputFields, OutputField, read_log

if TYPE_CHECKING:
    from uhlp.optimization.estimate import EstimateReport
    from uhlp.traffic.importing import ImportedRow


def estimate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log in JSON Lines.")],
    input_: InputFields = None,
    output: OutputField = None,
    gold: GoldField = None,
    decision_field: Annotated[
        str | None, typer.Option(help="The field of the output that is decided; by default the whole output.")
    ] = None,
    coder: Annotated[
        str | None,
        typer.Option(
            metavar="[PROVIDER/]MODEL", help="Ask a coder model as well: it writes a handler, run in a sandbox."
        ),
    ] = None,
    rules: Annotated[bool, typer.Option("--rules", help="Print every rule that was found.")] = False,
    json_: AsJson = False,
) -> None:
    """How much of a log of calls plain rules would answer, and how well: no key, no server, no model.

    Rules are learnt from one half of the log and tried on the other. Each line is {"input": {...}, "output": ...}, or
    any object from which --input and --output pick fields.
    """
    from uhlp.evolution.statistics.bounds import clopper_pearson_upper
    from uhlp.optimization.estimate import estimate as estimated

    rows = read_log(file, inputs=input_, output=output, gold=gold, shows=not json_)
    if decision_field is not None:
        _check_decision_field(rows, decision_field)
    with progress(f"learning rules from {len(rows):,} calls", is_shown=not json_) as bar:
        report = estimated(rows, upper_bound=clopper_pearson_upper, decision_field=decision_field)
        bar.say(f"{coder} writes a handler")
        written = asyncio.run(_ask_coder(coder, rows)) if coder else None
    if json_:
        print_json({**report.to_dict(), **({"coder": written.to_dict()} if written else {})})
        return
    if report.applies:
        _print(report, "Rules alone", every_rule=rules)
    else:
        print(f"No rules: {report.reason}.")
        if report.instead and not written:
            print(f"What would help: {report.instead}.")
    if written:
        _print_coder(written)


def _check_decision_field(rows: "Sequence[ImportedRow]", field: str) -> None:
    """A field that no output has is a slip of the pen, not a property of the log."""
    first = field.split(".")[0]
    found = {name: None for row in rows if isinstance(row.output, dict) for name in row.output}
    if first in found:
        return
    has = f"have {', '.join(found)}" if found else "are no objects; --output NAME=FIELD makes them some"
    raise CommandError(f"no output of the log has the field {first!r}", hint=f"the outputs {has}")


async def _ask_coder(model: str, rows: "Sequence[ImportedRow]") -> "EstimateReport":
    from uhlp.workbench import open_coder_estimate

    async with open_coder_estimate(model) as coder_estimate:
        return await coder_estimate.run(rows)


def _print_coder(report: "EstimateReport") -> None:
    from rich.console import Console

    print()
    if not report.applies:
        print(f"The coder's handler would not be let in: {report.reason}.")
    else:
        _print(report, "The coder's handler", every_rule=False)
    console = Console(highlight=False, soft_wrap=not is_terminal())
    if report.cost:
        cost = report.cost
        price = f"${cost['usd']:.4f}" if cost["usd"] else NO_PRICE
        tokens = cost["tokensIn"] + cost["tokensOut"]
        console.print(f"Drafts: {cost['drafts']:.0f}; {tokens:,.0f} tokens, {price}.", style="dim")
    if report.code:
        console.print(report.code, markup=False, soft_wrap=True)


def _print(report: "EstimateReport", who: str, *, every_rule: bool) -> None:
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=not is_terminal())
    console.print(
        f"[bold]{who} would answer {report.answered} of {report.held_out} calls they had not seen "
        f"({percent(report.coverage)}), {report.agreed} of them as the log does ({percent(report.agreement)}).[/bold]"
    )
    confidence = percent(1 - report.delta)
    if report.bound is not None:
        console.print(
            f"Proven: they differ from the log in less than {percent(report.bound)} (confidence {confidence})."
        )
    if report.gold_agreement is not None:
        console.print(
            f"Against the right answers: rules {percent(report.gold_agreement)}, "
            f"the recorded model {percent(report.model_gold_agreement)} on the same calls."
        )
    console.print(f"Learnt from {report.train} calls; the rest of {report.rows} was held back.", style="dim")
    print_table(
        ("label", "#calls", "#answered", "#as the log"),
        [
            (label, counts.get("asked", 0), counts.get("answered", 0), counts.get("agreed", 0))
            for label, counts in sorted(report.labels.items(), key=lambda one: -one[1].get("answered", 0))
        ],
        empty="No labels.",
        folds="label",
    )
    for one in report.wrong[:5]:
        console.print(f"differs, line {one.line}: {one.input} → {one.got}, the log has {one.expected}", markup=False)
    shown = report.rules if every_rule else report.rules[:8]
    if not report.rules:
        return
    console.print("Rules found:", style="bold")
    for rule in shown:
        console.print(f"  {rule}", markup=False)
    if len(shown) < len(report.rules):
        console.print(f"  … and {len(report.rules) - len(shown)} more (--rules prints all)", style="dim")
