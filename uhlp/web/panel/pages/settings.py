"""Settings: the governor's numbers, and everything else that is in force with where it comes from."""

from collections.abc import Mapping
from typing import Any

from uhlp.web.panel import figures
from uhlp.web.panel.markup import Markup, details, empty, mono, table
from uhlp.web.panel.page import Page, Section, Visit


async def settings_page(visit: Visit) -> Page:
    async def governor() -> Markup:
        return _governor(visit.services.run_time.numbers()["numbers"])

    async def others() -> Markup:
        return _settings(visit.services.run_time.over(visit.services.effective_settings))

    return Page(
        title="Settings",
        place="Settings",
        sections=(
            Section(name="The governor's numbers", draw=governor, every_s=5),
            Section(name="All settings", draw=others, every_s=60),
        ),
    )


def _governor(numbers: Mapping[str, Mapping[str, Any]]) -> Markup:
    rows = [
        [mono(name), _text(one["value"]), one["unit"], _text(one["default"]), one["allowed"], _origin(one)]
        for name, one in numbers.items()
    ]
    columns = ["Name", "Value", "Unit", "Default", "Allowed", "From"]
    return table("The governor's numbers", columns, rows, numeric=["Value", "Default"])


def _origin(one: Mapping[str, Any]) -> str:
    """Where a number comes from; of one that was set at run time, who set it and why."""
    return str(one["origin"]) if one["changedBy"] is None else f"{one['changedBy']}: {one['reason']}"


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
    return f"{value:,g}" if isinstance(value, int | float) else str(value)
