"""`uhlp sandbox list`."""

from typing import Any

from uhlp.cli.output import AsJson, print_json, print_note, print_table
from uhlp.cli.status import walls_line

_MIB = 1024 * 1024


def list_sandboxes(json_: AsJson = False) -> None:
    """What runs in which sandbox, and what it takes."""
    from uhlp.cli.admin_client import AdminClient

    with AdminClient() as client:
        told = client.get("/sandboxes")
    if json_:
        print_json(told)
        return
    print_table(
        (
            "sandbox",
            "application",
            "pool",
            "group",
            "state",
            "#age",
            "#workers",
            "#busy",
            "#requests",
            "#cpu",
            "#memory",
        ),
        [_row(one) for one in told["sandboxes"]],
        empty="No sandbox runs now; the first request to an application starts one.",
    )
    for pool in told["pools"]:
        if pool["problem"] is not None:
            print_note(f"{pool['appId']}, pool {pool['poolName']} ({pool['group']}): {pool['problem']}")
    print_note(walls_line(told))


def _row(one: dict[str, Any]) -> tuple[object, ...]:
    cpu_s, memory_bytes = one["cpuS"], one["memoryBytes"]
    return (
        one["sandboxId"],
        one["appId"],
        one["poolName"],
        one["group"],
        one["state"],
        f"{one['ageS']:,.0f} s",
        len(one["workers"]),
        one["busy"],
        one["requests"],
        None if cpu_s is None else f"{cpu_s:,.1f} s",
        None if memory_bytes is None else f"{memory_bytes / _MIB:,.0f} MiB",
    )
