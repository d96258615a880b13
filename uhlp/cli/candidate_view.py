"""How `uhlp show` prints one candidate."""

import json
from typing import Any

from uhlp.cli.output import moment, percent, print_entries, print_note

SHOWN_MISMATCHES = 10


def print_candidate(one: dict[str, Any], took: str | None) -> None:
    """Figures, drafts, lost comparisons and the timeline of GET /candidates/{id}; models `took` so many dollars."""
    print_note(
        f"{one['candidateId']}: {one['kind']} of {one['appId']}/{one['componentId']} by {one['proposer'] or '-'}"
    )
    print_note(f"  {one['state']}{' (paused)' if one['paused'] else ''}: {one['reason']}")
    for line in _figures(one, took):
        print_note(f"  {line}")
    for number, draft in enumerate(one["drafts"], start=1):
        refused = f"refused by {draft['stage']}: {draft['reason']}" if draft["stage"] else "let in"
        print()
        print_note(f"draft {number} ({draft['sha'][:10]}) {refused}")
    for mismatch in one["mismatches"][:SHOWN_MISMATCHES]:
        case = mismatch["case"] or {}
        print()
        print_note(f"wrong at {mismatch['stage']}; what is right says {mismatch['reference']}")
        for name in ("input", "expected", "got"):
            print_note(f"  {name + ':':<10}{json.dumps(case[name], ensure_ascii=False) if name in case else 'deleted'}")
    if len(one["mismatches"]) > SHOWN_MISMATCHES:
        print()
        print_note(f"… and {len(one['mismatches']) - SHOWN_MISMATCHES} more wrong ones; --json prints all")
    print()
    print_entries(
        ("time", "decision"),
        [
            (
                (moment(entry["ts"]), f"{entry['from'] or 'new'} → {entry['to']}" if entry["to"] else entry["event"]),
                f"#{entry['seq']} {entry['actor']}: {entry['reason']}",
            )
            for entry in one["timeline"]
        ],
        empty="No decisions.",
    )
    if one["kind"] == "prompt" and one["diff"]:
        print()
        print_note(f"what it changes: uhlp show {one['candidateId']} --code")
    elif one["code"]:
        print()
        print_note(f"its code: uhlp show {one['candidateId']} --code, --tests")


def _figures(one: dict[str, Any], took: str | None) -> list[str]:
    lines = []
    if one["approvalRequired"] and not one["approvedBy"]:
        lines.append(f"waits for approval: uhlp approve {one['candidateId']} --reason …")
    elif one["approvedBy"]:
        lines.append(f"approved by {one['approvedBy']}")
    if one["paused"]:
        lines.append(f"to go on: uhlp resume {one['candidateId']} --reason …")
    elif one["holds"]:
        lines.append(f"waits: {one['holds']}")
    if (tokens := one.get("tokens")) is not None:
        before, after = (f"{tokens[name]:,.0f}" if tokens[name] is not None else "?" for name in ("before", "after"))
        lines.append(f"{before} prompt tokens a call before, {after} by this one, on held-out samples:")
        lines.append(
            f"  {tokens['passedAfter']} of {tokens['ofAfter']} runs pass, "
            f"{tokens['passedBefore']} of {tokens['ofBefore']} by the prompt in service"
        )
    if one["n"] and one["kind"] == "prompt":
        lines.append(one["evidence"])
    elif one["n"]:
        lines.append(
            f"{one['k']} of {one['n']} compared answers wrong; coverage {percent(one['coverage']) or 'unknown'}"
        )
    break_even = one.get("breakEven") or {}
    if (known := break_even.get("measured") or break_even.get("expected")) is not None:
        lines.append(f"break-even: {known['words']}")
    return [*lines, f"{one['executions']:,} executions{'' if took is None else f', cost: {took}'}"]
