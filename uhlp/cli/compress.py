"""`uhlp compress`: shorter sections of a prompt, tried; `uhlp compressions`: what came of it."""

import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uhlp.cli.arguments import App, OnlyApp, Prompt
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, percent, print_done, print_entries, print_json, print_note, print_table
from uhlp.cli.progress import progress

if TYPE_CHECKING:
    from uhlp.cli.admin_client import AdminClient

_POLL_S = 1.0
_OVER = ("DONE", "FAILED", "CANCELLED")


def compress(
    app: App,
    prompt: Prompt,
    component: Annotated[str | None, typer.Option(help="The component that runs it, where several do.")] = None,
    strategy: Annotated[list[str] | None, typer.Option(help="deterministic or llm; repeatable. Both without.")] = None,
    calls: Annotated[int, typer.Option(min=1, help="At most so many runs of the component.")] = 5_000,
    seconds: Annotated[float, typer.Option(min=1, help="At most so long.")] = 3_600,
    zero_regressions: Annotated[bool, typer.Option(help="Any sample that fails refuses an edit.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow it to its report.")] = True,
    json_: AsJson = False,
) -> None:
    """Try shorter sections of a prompt and report what lost nothing. Nothing is changed by it."""
    from uhlp.cli.admin_client import AdminClient

    body: dict[str, Any] = {
        "promptNs": app,
        "promptKey": prompt,
        "componentId": component,
        "budget": {"calls": calls, "seconds": seconds},
        "rule": "zero_regressions" if zero_regressions else "default",
    }
    if strategy:
        body["strategies"] = strategy
    with AdminClient() as client:
        request_id = client.post("/optimize-requests", body)["requestId"]
        if not wait:
            print_done({"requestId": request_id}, request_id, f"  next: uhlp compressions {request_id}", as_json=json_)
            return
        try:
            found = _followed(client, request_id, shows=not json_)
        except KeyboardInterrupt:
            print(f"\nit goes on at the server; to end it: uhlp compressions {request_id} --cancel", file=sys.stderr)
            raise
    print_json(found) if json_ else _print(found)


def compressions(
    request: Annotated[str, typer.Argument(metavar="[REQUEST]", help="Request id: its report. Without: all.")] = "",
    app: OnlyApp = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="End the request; what is known is reported.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Put what its report has certified into service.")] = False,
    reason: Annotated[str, typer.Option(help="Why, for the commit.")] = "applied by hand",
    json_: AsJson = False,
) -> None:
    """Requests to shorten prompts, and their reports: per edit what it saves, how it fared, and why.

    --apply serves it from now on, on the report's word alone; `uhlp optimize APP COMPONENT --action compress` lets the
    governor try it on live traffic first.
    """
    from uhlp.cli.admin_client import AdminClient

    if (apply or cancel) and not request:
        raise CommandError("which request?", hint="uhlp compressions REQUEST; without it they are listed")
    with AdminClient() as client:
        if apply:
            put = client.post(f"/optimize-requests/{request}/apply", {"reason": reason})
            print_done(put, *_applied(put), as_json=json_)
            return
        if cancel:
            found = client.post(f"/optimize-requests/{request}/cancel", {})
        elif request:
            found = client.get(f"/optimize-requests/{request}")
        else:
            found = client.get("/optimize-requests", appId=app)
            if not found["requests"]:
                client.check_app(app)
    if json_:
        print_json(found)
    elif request:
        _print(found)
    else:
        print_entries(
            ("request", "prompt", "step", "#saved a run"),
            [(_cells(one), one.get("reason") or _words(one.get("verdict", ""))) for one in found["requests"]],
            empty="No prompt has been tried in shorter words: uhlp compress APP PROMPT",
        )


def _applied(put: dict[str, Any]) -> tuple[str, str]:
    where = f"{put['promptNs']}/{put['promptKey']}@{put['tag']}"
    return (
        f"{where} is at {put['revision']}: {', '.join(put['sections'])}",
        f"  next: uhlp overrides {put['promptNs']} {put['promptKey']} --diff source..{put['tag']}",
    )


def _cells(one: dict[str, Any]) -> tuple[object, ...]:
    prompt = f"{one['promptNs']}/{one['promptKey']}"
    return (one["requestId"], prompt, one["step"], one.get("totalTokenReduction"))


def _words(outcome: str) -> str:
    """`nothing_accepted` as people write it."""
    return outcome.replace("_", " ")


def _followed(client: "AdminClient", request_id: str, *, shows: bool) -> dict[str, Any]:
    found = client.get(f"/optimize-requests/{request_id}")
    with progress(request_id, is_shown=shows) as bar:
        while found["step"] not in _OVER:
            time.sleep(_POLL_S)
            found = client.get(f"/optimize-requests/{request_id}")
            spent = found["spent"]
            bar.say(f"{found['step'].lower()}: {spent['calls']} runs, {spent['tokens']:,} tokens")
    return found


def _print(found: dict[str, Any]) -> None:
    prompt = f"{found['promptNs']}/{found['promptKey']}@{found['baselineTag']}"
    print(f"{prompt}, run by {found['componentId']}: {found['step']}")
    report = found.get("report")
    if report is None:
        print_note(f"{found['spent']['calls']} runs so far")
        return
    print_note(f"{_words(report['verdict'])}{': ' + report['reason'] if report['reason'] else ''}")
    print_table(
        ("section", "by", "#tokens", "#saves", "#measured", "#before", "#after", "#n", "verdict"),
        [
            (
                one["section"],
                one["edit"]["strategy"],
                f"~{one['edit']['originalTokens']}",
                f"~{one['edit']['originalTokens'] - one['edit']['proposedTokens']}",
                None if one["measuredSaving"] is None else f"{one['measuredSaving']:.0f}",
                percent(one["baselinePassRate"]),
                percent(one["candidatePassRate"]),
                one["candidate"]["n"] or None,
                _words(one["outcome"]),
            )
            for one in report["edits"]
        ],
        empty="No edit was proposed.",
    )
    for one in report["edits"]:
        if one["reason"]:
            print_note(f"  {one['section']}: {one['reason']}")
    certificate = report["certificate"]
    if certificate is not None:
        before, after = certificate["baseline"], certificate["candidate"]
        print_note(
            f"together, on held-out samples: {before['passed']} of {before['n']} before, "
            f"{after['passed']} of {after['n']} after; prompt tokens a run by the provider: "
            f"{before['tokensIn'] or 0:.0f} -> {after['tokensIn'] or 0:.0f}"
        )
        if certificate["unseenLosers"] is not None:
            print_note(
                f"of {certificate['samples']} inputs: up to {percent(certificate['unseenLosers'])} of all may lose and "
                "not be among them (95 %)"
            )
    spent = report["spent"]
    print_note(f"took {spent['calls']} runs, {spent['tokens']:,} tokens, ${spent['usd']:.4f}, {spent['seconds']:.0f} s")
    for one in report["edits"]:
        if one["outcome"] == "accepted":
            print_note(f"\n{one['section']}:\n{one['diff']}")
