"""Settings: the governor's numbers, and everything else that is in force with where it comes from."""

from collections.abc import Mapping
from typing import Any

from uhlp.errors import ValidationFailed
from uhlp.web.documentation.lane import DOCUMENTATION
from uhlp.web.panel import figures, requests
from uhlp.web.panel.markup import Markup, Part, Question, as_json, details, empty, join, link, mono, table, tag, when
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit
from uhlp.web.panel.waiting_list import json_value


async def settings_page(visit: Visit) -> Page:
    run_time = visit.services.run_time

    async def change(fields: Fields) -> str:
        name = fields.get("name", "")
        changes = {name: json_value(fields, f"The value of {name}")}
        await run_time.change_numbers(changes, actor=visit.actor, reason=_reason(fields))
        return f"{name} is {_text(run_time.numbers()['numbers'][name]['value'])} from now on."

    async def reset(fields: Fields) -> str:
        name = fields.get("name", "")
        await run_time.change_numbers({}, reset=(name,), actor=visit.actor, reason=_reason(fields))
        return f"{name} is {_text(run_time.numbers()['numbers'][name]['value'])} again, as the settings say."

    async def governor() -> Markup:
        return _governor(visit, run_time.numbers()["numbers"])

    async def others() -> Markup:
        return _settings(run_time.over(visit.services.effective_settings))

    return Page(
        title="Settings",
        place="Settings",
        sections=(
            Section(name="The governor's numbers", draw=governor, every_s=5),
            Section(name="All settings", draw=others, every_s=60),
        ),
        actions={"change": Action(requests.CONFIGURE, change), "reset": Action(requests.CONFIGURE, reset)},
    )


def _reason(fields: Fields) -> str:
    reason = fields.get("reason", "").strip()
    if not reason:
        raise ValidationFailed("Give a reason: it goes into the ledger.", details={"path": "reason"})
    return reason


def _governor(visit: Visit, numbers: Mapping[str, Mapping[str, Any]]) -> Markup:
    columns = ["Name", "Value", "Default", "Allowed", "From"]
    rows: list[list[Part]] = [
        [mono(name), f"{_text(one['value'])} {_unit(one)}", _text(one["default"]), one["allowed"], _origin(one)]
        for name, one in numbers.items()
    ]
    changes = [_changes(visit, name, one) for name, one in numbers.items()]
    if any(changes):
        columns.append("Change")
        rows = [[*row, tag("span", change, class_="inline")] for row, change in zip(rows, changes, strict=True)]
    meanings = tag("p", link("What each of them means", f"{DOCUMENTATION}/settings#evolution"), class_="quiet")
    return join([meanings, table("The governor's numbers", columns, rows, numeric=["Value", "Default"])])


def _unit(one: Mapping[str, Any]) -> str:
    """Said where there is a value that does not say it."""
    return "" if one["value"] is None or one["unit"] in ("count", "share", "ratio", "probability") else str(one["unit"])


def _changes(visit: Visit, name: str, one: Mapping[str, Any]) -> Markup:
    """For owners: another value, or the one that the settings give."""
    text = f"Allowed: {one['allowed']}. It is in force at once; evidence that was begun keeps its numbers."
    value = as_json(one["value"])
    asks = Question(f"Change {name}", text, name="value", label=f"Value ({one['unit']})", value=value)
    change = visit.button(requests.CONFIGURE, "Change", "change", {"name": name}, tone="small", asks=asks)
    if one["changedBy"] is None:
        return change
    back = Question(f"Give {name} back", "The value of file, environment or default holds again.")
    return change + visit.button(requests.CONFIGURE, "Give back", "reset", {"name": name}, tone="small", asks=back)


def _origin(one: Mapping[str, Any]) -> Markup | str:
    """Where a number comes from; of one that was set at run time, who set it, when and why."""
    if one["changedBy"] is None:
        return str(one["origin"])
    return join([f"{one['changedBy']}, ", when(one["changedAt"]), tag("div", one["reason"], class_="quiet")])


def _settings(settings: Mapping[str, Mapping[str, Any]]) -> Markup:
    if not settings:
        return empty("Nothing is known of the settings.")
    rows = [[mono(name), _text(one["value"]), str(one["origin"])] for name, one in settings.items()]
    return details(f"{len(rows)} settings", table("All settings", ["Name", "Value", "From"], rows), key="all-settings")


def _text(value: Any) -> str:
    if value is None:
        return figures.DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value) or "none"
    if isinstance(value, float) and value != int(value):
        return f"{value:,g}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)
