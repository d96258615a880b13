"""`uhlp queues`: what waits for components, and what is not delivered any more."""

from typing import Annotated, Any

import typer

from uhlp.cli.arguments import App
from uhlp.cli.failure import CommandError
from uhlp.cli.output import AsJson, print_done, print_entries, print_json, print_note, print_table


def queues(
    app: App,
    queue: Annotated[str, typer.Argument(metavar="[QUEUE]", help="Show the dead letters of this one.")] = "",
    revive: Annotated[str, typer.Option(metavar="MESSAGE", help="Deliver a dead letter of QUEUE anew.")] = "",
    purge: Annotated[bool, typer.Option(help="Remove the dead letters of QUEUE for good.")] = False,
    json_: AsJson = False,
) -> None:
    """How many messages wait in which queue; of one queue the dead letters, and why."""
    from uhlp.cli.admin_client import AdminClient

    if (revive or purge) and not queue:
        raise CommandError("which queue?", hint=f"uhlp queues {app} QUEUE --revive MESSAGE, or --purge")
    with AdminClient() as client:
        if revive:
            answer = client.post(f"/apps/{app}/queues/{queue}/dead-letters/{revive}/revive", {})
            print_done(answer, f"{revive} is delivered anew", as_json=json_)
            return
        if purge:
            answer = client.delete(f"/apps/{app}/queues/{queue}/dead-letters")
            removed = answer["removed"]
            print_done(answer, f"removed {removed} dead letter{'' if removed == 1 else 's'}", as_json=json_)
            return
        told = client.get(f"/apps/{app}/queues/{queue}/dead-letters" if queue else f"/apps/{app}/queues")
    if json_:
        print_json(told)
    elif queue:
        _print_dead(app, queue, told["deadLetters"])
    else:
        columns = ("queue", "component", "#ready", "#leased", "#delayed", "#dead")
        rows = [tuple(one[name] for name in _FIELDS) for one in told["queues"]]
        print_table(columns, rows, empty="No component has a queue: give one a trigger `source: queue`.")
        if any(one["dead"] for one in told["queues"]):
            print_note(f"Why they are dead: uhlp queues {app} QUEUE")


_FIELDS = ("queue", "componentId", "ready", "leased", "delayed", "dead")


def _print_dead(app: str, queue: str, letters: list[dict[str, Any]]) -> None:
    print_entries(
        ("message", "died", "#deliveries"),
        [((one["messageId"], one["diedAt"][:19], one["deliveryCount"]), one["reason"]) for one in letters],
        empty="No dead letters.",
    )
    if letters:
        print_note(f"Once more: uhlp queues {app} {queue} --revive MESSAGE")
