"""`uhlp eval`: a component against what is known to be right; `uhlp eval compare`: two such runs."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.arguments import App, Component, OnlyComponent
from uhlp.cli.failure import CommandError
from uhlp.cli.given_files import parsed_json, text_of
from uhlp.cli.output import AsJson, moment, percent, print_done, print_json, print_note, print_table
from uhlp.cli.progress import progress

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient

_POLL_S = 0.5
_SHOWN = 10
_OVER = ("done", "failed", "interrupted", "cancelled")


def run(
    app: App,
    component: Component,
    dataset: Annotated[str, typer.Option(help="golden, human, recorded, all; or a JSON Lines file.")] = "all",
    tag: Annotated[str, typer.Option(help="The prompt as this tag of overrides has it.")] = "stable",
    served: Annotated[bool, typer.Option("--served", help="What answers requests now, code included.")] = False,
    repeats: Annotated[int, typer.Option(min=1, max=20, help="Runs of each sample.")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples.")] = None,
    evaluator: Annotated[str, typer.Option(help='As JSON, such as {"kind": "exact"}; else the comparator.')] = "",
    json_: AsJson = False,
) -> None:
    """Run known samples through a component and score its answers. Errors are counted apart from failures.

    A file has a line {"id", "input", "expected"} for each sample. Exit status 1: the run is not complete.
    """
    from uhlp.cli.admin_client import AdminClient

    order: dict[str, Any] = {"componentId": component, "tag": tag, "served": served, "repeats": repeats, "limit": limit}
    if dataset in ("golden", "human", "recorded", "all"):
        order["dataset"] = dataset
    else:
        order["samples"] = {"samples": _samples(Path(dataset))}
    if evaluator:
        order["evaluator"] = _json_of(evaluator)
    with AdminClient() as client:
        record = client.post(f"/apps/{app}/evals", order)
        try:
            record = _followed(client, app, record, shows=not json_)
        except KeyboardInterrupt:
            print(f"\nit goes on at the server; to end it: uhlp eval cancel {app} {record['id']}", file=sys.stderr)
            raise
    if json_:
        print_json(record)
    else:
        _print(app, record)
    if record["state"] != "done" or not record["figures"]["complete"]:
        raise typer.Exit(1)


def compare(
    app: App,
    first: Annotated[str, typer.Argument(metavar="FROM", help="Evaluation id; `uhlp eval list APP`.")],
    second: Annotated[str, typer.Argument(metavar="TO", help="Evaluation id.")],
    json_: AsJson = False,
) -> None:
    """What changed between two evaluations, sample by sample, the worst first."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get(f"/apps/{app}/evals/compare", **{"from": first, "to": second})
    if json_:
        print_json(found)
        return
    before, after = found["from"]["figures"], found["to"]["figures"]
    print_table(
        ("", "#from", "#to"),
        [
            ("samples", before["asked"], after["asked"]),
            ("passed", percent(before["passRate"]), percent(after["passRate"])),
            ("mean score", _number(before["meanScore"]), _number(after["meanScore"])),
            ("errors", before["errored"], after["errored"]),
            ("tokens in", before["tokensIn"], after["tokensIn"]),
            ("cost, $", _cost(before), _cost(after)),
        ],
        empty="",
    )
    print_note(f"{found['better']} of {found['samples']} samples are better, {found['worse']} worse")
    if not found["sameDataset"]:
        print_note("the datasets differ: only samples of both are compared")
    if found["samePrompt"]:
        print_note("both ran the same prompt")
    for one in found["flips"][:_SHOWN]:
        print_note(f"  {one['id']}: {one['before']:.2f} -> {one['after']:.2f}  {one['reason'][:120]}")


def cancel(
    app: App,
    evaluation: Annotated[str, typer.Argument(metavar="EVALUATION", help="Its id; `uhlp eval list APP`.")],
    json_: AsJson = False,
) -> None:
    """End an evaluation that waits or runs; what it has found so far is kept."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        record = client.post(f"/apps/{app}/evals/{evaluation}/cancel", {})
        record = _followed(client, app, record, shows=not json_)
    figures = record["figures"]
    what = f"{evaluation} is {record['state']}; {figures['n']:,} of {figures['asked']:,} runs were answered"
    print_done(record, what, as_json=json_)


def list_evals(
    app: App,
    component: OnlyComponent = None,
    json_: AsJson = False,
) -> None:
    """Evaluations of an application, newest first."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get(f"/apps/{app}/evals", componentId=component)["evals"]
    if json_:
        print_json(found)
        return
    print_table(
        ("id", "component", "tag", "when", "state", "#passed", "#errors"),
        [
            (
                one["id"],
                one["order"]["componentId"],
                "(served)" if one["order"]["served"] else one["order"]["tag"],
                moment(one["createdAt"]),
                one["state"],
                percent(one["figures"]["passRate"]),
                one["figures"]["errored"],
            )
            for one in found
        ],
        empty=f"No evaluations yet: uhlp eval {app} {component or 'COMPONENT'}",
    )


def _followed(client: "AdminClient", app: str, record: dict[str, Any], *, shows: bool) -> dict[str, Any]:
    """The evaluation once it is over, with a bar until then."""
    with progress("evaluating", total=record["figures"]["asked"], is_shown=shows) as bar:
        while record["state"] not in _OVER:
            time.sleep(_POLL_S)
            record = client.get(f"/apps/{app}/evals/{record['id']}")
            bar.reach(record["done"])
    return record


def _print(app: str, record: dict[str, Any]) -> None:
    figures, order = record["figures"], record["order"]
    what = "what is served" if order["served"] else f"prompt@{order['tag']}"
    print(f"{app}/{order['componentId']}, {what}: {record['state']}{_because(record)}")
    print_table(
        ("#runs", "#passed", "", "#failed", "#errors", "#missing", "#score", "#p50 ms", "#tokens in", "#out"),
        [
            (
                figures["n"],
                figures["passed"],
                percent(figures["passRate"]),
                figures["failed"],
                figures["errored"],
                figures["missing"],
                _number(figures["meanScore"]),
                _number(figures["p50Ms"]),
                figures["tokensIn"],
                figures["tokensOut"],
            )
        ],
        empty="",
    )
    bad = [one for one in record["verdicts"] if one["passed"] < one["runs"]]
    for one in bad[:_SHOWN]:
        print_note(f"  {one['id']}: {one['passed']} of {one['runs']} pass. {one['reason'][:160]}")
    if len(bad) > _SHOWN:
        print_note(f"  … and {len(bad) - _SHOWN} more: --json has them all")
    print_note(f"{record['id']}; compare: uhlp eval compare {app} {record['id']} OTHER")


def _because(record: dict[str, Any]) -> str:
    return f": {record['error']}" if record.get("error") else ""


def _cost(figures: dict[str, Any]) -> str | None:
    """None where no price is known."""
    known, unpriced = _number(figures["costUsd"]), figures.get("unpriced", 0)
    if not unpriced:
        return known
    return f"{known}, {unpriced} unpriced" if figures["costUsd"] else None


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _samples(path: Path) -> list[dict[str, Any]]:
    lines = text_of(path, hint="--dataset golden|human|recorded|all, or a file").splitlines()
    samples = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            sample = _json_of(line, where=f"{path}, line {number}")
            samples.append({"id": str(sample.get("id", number)), **{k: v for k, v in sample.items() if k != "id"}})
    return samples


def _json_of(text: str, *, where: str = "--evaluator") -> dict[str, Any]:
    value = parsed_json(text, where)
    if not isinstance(value, dict):
        raise CommandError(f"{where} is no JSON object")
    return value
