"""`uhlp bench`: measurements of what UHLP claims of itself."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_json, print_table
from uhlp.cli.progress import progress

if TYPE_CHECKING:
    from uhlp.bench.report import Row


def governor(
    runs: Annotated[
        int | None, typer.Option(min=1, help="Runs of each scenario, instead of what each asks for.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the first run; the next one has the next seed.")] = 1,
    scenario: Annotated[
        list[str] | None, typer.Option(metavar="WORDS", help="Only scenarios whose name has these words; repeatable.")
    ] = None,
    epsilon: Annotated[
        float, typer.Option(min=0.001, max=0.05, help="The share of wrong answers that components allow.")
    ] = 0.01,
    long: Annotated[
        bool, typer.Option("--long", help="As many runs as the targets ask for: ten minutes on two cores.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Play traffic through the real governor: handlers that are right, wrong, slow, crashing, or become so.

    Everything is real but sandboxes, models and time. Says what was let in, how soon, and how many wrong answers were
    served, against the targets; exit status 1 when one is not met. Needs nothing: no server, no key.
    """
    from uhlp.bench.governor_bench import bench, numbers_of_runs
    from uhlp.bench.scenarios import scenarios

    chosen = [one for one in scenarios(epsilon) if not scenario or any(words in one.name for words in scenario)]
    if not chosen:
        names = "; ".join(one.name for one in scenarios(epsilon))
        raise CommandError("no scenario has such a name", hint=f"there are: {names}")
    total = sum(numbers_of_runs(chosen, runs=runs, is_long=long))
    with progress("playing", total=total, is_shown=not json_) as bar:
        rows = list(bench(chosen, seed=seed, runs=runs, is_long=long, on_run=bar.advance))
    if json_:
        print_json({"epsilon": epsilon, "seed": seed, "scenarios": [row.to_dict() for row in rows]})
    else:
        _print(rows, epsilon, seed)
    if any(check.standing == "NOT MET" for row in rows for check in row.checks):
        sys.exit(1)


def _print(rows: "list[Row]", epsilon: float, seed: int) -> None:
    print_table(
        ("scenario", "#runs", "#promoted", "#refused", "#undecided", "#requests p50", "#p90", "#wrong served", "#most",
         "#model calls"),
        [
            (row.scenario, row.runs, row.promoted, row.refused, row.undecided, round(row.requests_median),
             round(row.requests_p90), f"{row.wrong_mean:.1f}", row.wrong_max, round(row.reference_calls_mean))
            for row in rows
        ],
        empty="Nothing was played.",
    )  # fmt: skip
    print(f"Wrong answers allowed: {epsilon:.1%}. Seeds: {seed} and on. Requests to the decision, with 200 of history;")
    print("after a turn, to the rollback. Wrong answers reached users; model calls only measured. Means over runs.")
    targets: list[tuple[Any, ...]] = [
        (row.scenario, check.target, check.found, check.standing, " ".join(map(str, check.seeds[:10])) or "-")
        for row in rows
        for check in row.checks
        if check.target != "no request fails" or check.standing != "met"
    ]
    print_table(("scenario", "target", "found", "is", "against it: seeds"), targets, empty="")
