"""`uhlp settings`."""

from uhlp.cli.output import AsJson, print_json, print_table


def settings(json_: AsJson = False) -> None:
    """The running server's settings with their origin; secrets are masked."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        found = client.get("/settings")["settings"]
    if json_:
        print_json(found)
        return
    print_table(
        ("setting", "value", "origin"),
        [(name, setting["value"], setting["origin"]) for name, setting in sorted(found.items())],
        empty="No settings.",
        folds="value",
    )
