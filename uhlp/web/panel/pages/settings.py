"""Settings: the governor's numbers, and everything else that is in force with where it comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

from uhlp.web.panel import figures
from uhlp.web.panel.markup import Markup, details, empty, mono, table
from uhlp.web.panel.page import Page, Section, Visit


async def settings_page(visit: Visit) -> Page:
    async def governor() -> Markup:
        return _governor(await visit.services.evolution.config())

    async def others() -> Markup:
        return _settings(visit.services.effective_settings)

    return Page(
        title="Settings",
        place="Settings",
        sections=(
            Section(name="The governor's numbers", draw=governor, every_s=5),
            Section(name="All settings", draw=others, every_s=60),
        ),
    )


def _governor(config: Mapping[str, Any]) -> Markup:
    rows = [[mono(name), _text(value)] for name, value in flat(config)]
    return table("The governor's numbers", ["Name", "Value"], rows, numeric=["Value"])


def flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values under dotted names."""
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from flat(value, f"{path}.")
        else:
            yield path, value


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
