"""Commands of oversight: `uhlp candidates`, `show`, `why`, `optimize`, `approve`, `reject`, `rollback`."""

from collections.abc import Iterator
from typing import Annotated, Literal

import typer

from uhlp.cli.arguments import App, CandidateId, Component, OnlyApp, Reason, app_ids, candidate_ids, component_ids
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, moment, percent, print_done, print_entries, print_json, print_note
from uhlp.evolution.candidate_page import MOST, USUAL

Action = Literal["jit", "compress"]


def candidates(
    app: OnlyApp = None,
    state: Annotated[str | None, typer.Option(help="Only this state, for example canary.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help=f"So many of the newest, {MOST:,} at most.")] = USUAL,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="CANDIDATE", help="Those that are older than this one, the next page.", autocompletion=candidate_ids
        ),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Proposed implementations and how far they have come, the newest first."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        page = client.get("/candidates", appId=app, state=state, limit=limit, after=after)
        found = page["candidates"]
        if not found:
            client.check_app(app)
    if json_:
        print_json(found)
        return
    print_entries(
        ("candidate", "component", "state", "#compared", "#wrong", "#coverage"),
        [
            (
                (
                    one["candidateId"],
                    f"{one['appId']}/{one['componentId']}",
                    one["state"] + (" (paused)" if one.get("paused") else ""),
                    one.get("n"),
                    one.get("k"),
                    percent(one.get("coverage")),
                ),
                one.get("reason") or "",
            )
            for one in found
        ],
        empty=_nothing(state, after),
    )
    if page.get("cursor") is not None:
        print_note(f"Older ones: the same with --after {page['cursor']}")


def _nothing(state: str | None, after: str | None) -> str:
    """What is said where no candidate is shown."""
    if after:
        return "There are no older ones."
    return "No candidates in this state." if state else "No candidates yet: uhlp optimize APP COMPONENT"


def show(
    candidate: CandidateId,
    code: Annotated[bool, typer.Option("--code", help="Print the handler alone; of a prompt the diff.")] = False,
    tests: Annotated[bool, typer.Option("--tests", help="Print the handler's tests and nothing else.")] = False,
    json_: AsJson = False,
) -> None:
    """One candidate: its figures, its drafts, what it got wrong, and every decision about it."""
    from uhlp.cli.admin_client import AdminClient
    from uhlp.cli.candidate_view import print_candidate
    from uhlp.cli.prices import cost_in

    with AdminClient() as client:
        one = client.get(f"/candidates/{candidate}")
    if json_:
        print_json(one)
    elif code or tests:
        made = "diff" if one["kind"] == "prompt" else "code"
        texts = [one.get(name) for name, is_asked in ((made, code), ("tests", tests)) if is_asked]
        if not any(texts):
            raise CommandError(
                f"{candidate} has no {'code' if code else 'tests'} yet", hint=f"how far it is: uhlp show {candidate}"
            )
        print("\n\n".join(text for text in texts if text))
    else:
        with AdminClient() as client:
            took = cost_in(client, one["appId"], one["costUsd"], tokens=one["tokensIn"] + one["tokensOut"])
        print_candidate(one, took)


def why(app: App, component: Component, json_: AsJson = False) -> None:
    """Why a component runs as it does: what is proven, what is missing, how many, by when."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        answer = client.get(f"/apps/{app}/components/{component}/why")
    if json_:
        print_json(answer)
        return
    state = f", candidate {answer['candidateId']} is {answer['state']}" if answer.get("candidateId") else ""
    print(f"{app}/{component} runs as {answer['handlerType']}{state}")
    for line in answer["lines"]:
        print_note(f"  {line}")
    for one in answer.get("missing", ()):
        by_when = f", expected {moment(one['expectedAt'])}" if one.get("expectedAt") else ""
        print_note(f"  {one['what']}: {one['have']} of {one['need']}{by_when}")


def optimize(
    app: App,
    component: Component,
    action: Annotated[Action, typer.Option(help="jit: make a handler; compress: shorten the prompt.")] = "jit",
    proposer: Annotated[str, typer.Option(help="Ask only this one: rule_learner or coder.")] = "",
    reason: Reason = "asked for by hand",
    json_: AsJson = False,
) -> None:
    """Ask for a candidate now, without waiting for a rule. Verification is never skipped."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        body = {"action": action, "reason": reason, "proposer": proposer}
        answer = client.post(f"/apps/{app}/components/{component}/optimize", body)
    print_done(answer, answer["candidateId"], f"  next: uhlp why {app} {component}", as_json=json_)


def approve(candidate: CandidateId, reason: Reason, json_: AsJson = False) -> None:
    """Let a candidate that waits for approval go on. Verification is never skipped."""
    act(candidate, "approve", reason, json_)


def reject(candidate: CandidateId, reason: Reason, json_: AsJson = False) -> None:
    """End a candidate that is not in service."""
    act(candidate, "reject", reason, json_)


def _candidates_and_applications(ctx: typer.Context, incomplete: str) -> Iterator[str | tuple[str, str]]:
    yield from candidate_ids(ctx, incomplete)
    yield from app_ids(ctx, incomplete)


def rollback(
    place: Annotated[
        str,
        typer.Argument(
            metavar="CANDIDATE | APP",
            help="What to take out, or where to go back.",
            autocompletion=_candidates_and_applications,
        ),
    ],
    reason: Reason,
    component: Annotated[
        str,
        typer.Argument(metavar="[COMPONENT]", help="Of the application, with --to.", autocompletion=component_ids),
    ] = "",
    to: Annotated[
        str, typer.Option(help="A version (`uhlp history`): v2, prompt, or a revision: what served there.")
    ] = "",
    json_: AsJson = False,
) -> None:
    """Take a candidate out of service; what ran before answers from the next request on.

    `uhlp rollback APP COMPONENT --to v2` returns to any version that may serve: ledger first, its audits on.
    """
    if not component and not to:
        act(place, "rollback", reason, json_)
        return
    if not (component and to):
        raise CommandError(
            "--to says which version of which component", hint="uhlp rollback APP COMPONENT --to v2 --reason …"
        )
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        answer = client.post(f"/apps/{place}/components/{component}/rollback", {"to": to, "reason": reason})
    what = f"{place}/{component} runs {answer['inService']} at revision {answer['revision'][:12]}"
    print_done(answer, what, as_json=json_)


def act(candidate: str, action: str, reason: str, json_: bool) -> None:
    """Do this to a candidate, and say what has become of it."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        answer = client.post(f"/candidates/{candidate}/{action}", {"reason": reason})
    print_done(answer, f"{candidate} is {answer['state']}", as_json=json_)
