"""Commands by which people move candidates and components: `promote-full`, `quarantine`, `pause`, `resume`."""

from typing import Annotated

import typer

from uhlp.cli.arguments import CandidateId, Reason, app_ids, candidate_ids, component_ids
from uhlp.cli.candidates import act
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_done

OneCandidate = Annotated[
    str,
    typer.Argument(
        metavar="[CANDIDATE]",
        help="Only this candidate; without it what --app and --component say.",
        autocompletion=candidate_ids,
    ),
]
OfApp = Annotated[
    str | None,
    typer.Option("--app", metavar="APP", help="Every component of this application.", autocompletion=app_ids),
]
OfComponent = Annotated[
    str | None,
    typer.Option(
        "--component", metavar="COMPONENT", help="Only this component of --app.", autocompletion=component_ids
    ),
]


def promote_full(candidate: CandidateId, reason: Reason, json_: AsJson = False) -> None:
    """Give a canary all requests now. Only one whose answers are proven by what was compared already."""
    act(candidate, "promote-full", reason, json_)


def quarantine(
    candidate: CandidateId,
    reason: Reason,
    clear: Annotated[bool, typer.Option("--clear", help="Let its component have candidates again.")] = False,
    json_: AsJson = False,
) -> None:
    """Take a candidate out for good: nothing like it may serve. The model answers from the next request on."""
    act(candidate, "clear-quarantine" if clear else "quarantine", reason, json_)


def pause(
    reason: Reason,
    candidate: OneCandidate = "",
    app: OfApp = None,
    component: OfComponent = None,
    json_: AsJson = False,
) -> None:
    """Stop evolution: of a candidate, a component, an application, or everywhere. What serves goes on serving."""
    _move("pause", candidate, app, component, reason, json_)


def resume(
    reason: Reason,
    candidate: OneCandidate = "",
    app: OfApp = None,
    component: OfComponent = None,
    json_: AsJson = False,
) -> None:
    """Let evolution go on where `uhlp pause` stopped it."""
    _move("resume", candidate, app, component, reason, json_)


def _move(action: str, candidate: str, app: str | None, component: str | None, reason: str, json_: bool) -> None:
    from uhlp.cli.admin_client import AdminClient

    if candidate:
        if app or component:
            raise CommandError("a candidate or --app, not both", hint=f"uhlp {action} CANDIDATE --reason …")
        act(candidate, action, reason, json_)
        return
    if component and not app:
        raise CommandError("a component needs its application", hint=f"uhlp {action} --app APP --component COMPONENT")
    body = {"reason": reason, "appId": app, "componentId": component}
    with AdminClient() as client:
        answer = client.post(f"/evolution/{action}", body)
    where = f"{app}/{component}" if component else app or "everywhere"
    print_done(answer, f"evolution is {action}d: {where}", as_json=json_)
