"""What pages are written in: HTML whose every text is escaped.

Much of what the panel shows comes from models, callers and sandboxes. A plain string is always text here; only what
these functions made (`Markup`) goes in as it is. The browser cleans it once more (DOMPurify, in NiceGUI).
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup as Markup
from markupsafe import escape

Part = Markup | str | int | float | None
"""None leaves nothing; everything but Markup is escaped."""

EMPTY = Markup()
_VOID = frozenset({"input", "br", "line", "circle", "path", "polyline", "rect"})


def tag(name: str, *parts: Part, **attributes: str | int | float | bool | None) -> Markup:
    """`<name attribute="…">parts</name>`. `class_` becomes class, `data_key` data-key; None and False are left out."""
    given = [
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), "" if value is True else value)
        for key, value in attributes.items()
        if value is not None and value is not False
    ]
    if name in _VOID:
        return Markup("<{}{}/>").format(name, join(given))
    return Markup("<{}{}>{}</{}>").format(name, join(given), join(parts), name)


def join(parts: Iterable[Part]) -> Markup:
    """The parts one after another."""
    return Markup("").join(escape("" if part is None else part) for part in parts)


def link(text: Part, href: str, **attributes: str | None) -> Markup:
    return tag("a", text, href=href, data_key=href, **attributes)


def badge(text: str, tone: str = "") -> Markup:
    """A short state; `tone` is good, warn, bad, live or nothing."""
    return tag("span", text, class_=f"badge {tone}".rstrip())


def note(text: Part, tone: str = "") -> Markup:
    """A sentence in a box of its own, with `tone` as for badges."""
    return tag("p", text, class_=f"note {tone}".rstrip())


def empty(text: Part, hint: Part = None) -> Markup:
    """What stands where there is nothing yet, and what would bring something."""
    return tag("div", tag("p", text), tag("p", hint, class_="quiet") if hint else None, class_="empty")


def when(epoch_s: float | None, missing: str = "\u2013") -> Markup:
    """A moment: the page's script writes it in the viewer's zone, with UTC on hover."""
    if epoch_s is None:
        return escape(missing)
    utc = datetime.fromtimestamp(epoch_s, UTC)
    told = utc.strftime("%Y-%m-%d %H:%M:%S UTC")
    return tag("time", told, datetime=utc.isoformat(timespec="seconds").replace("+00:00", "Z"), title=told)


def moment(iso: str) -> Markup:
    """The same for a moment that came as ISO 8601."""
    return when(datetime.fromisoformat(iso).timestamp())


def mono(text: Part) -> Markup:
    return tag("code", text)


def block(text: str, label: str) -> Markup:
    """Text whose lines stand as they are: code, prompts, JSON. It scrolls in itself, by keyboard too."""
    return tag("pre", tag("code", text), class_="block", tabindex=0, role="region", aria_label=label)


def as_json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def diff(text: str, label: str) -> Markup:
    """A unified diff, line by line."""
    kinds = {"+": "added", "-": "removed", "@": "place"}
    lines = [tag("span", f"{line}\n", class_=kinds.get(line[:1])) for line in text.splitlines()]
    return tag("pre", tag("code", *lines), class_="block diff", tabindex=0, role="region", aria_label=label)


def facts(pairs: Iterable[tuple[str, Part]]) -> Markup:
    """Names and values, side by side."""
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in pairs), class_="facts")


def tile(name: str, value: Part, more: Part = None, tone: str = "") -> Markup:
    """One figure, large."""
    return tag(
        "div",
        tag("dt", name),
        tag(
            "dd",
            tag("span", value, class_=f"figure {tone}".rstrip()),
            tag("span", more, class_="quiet") if more else None,
        ),
        class_="tile",
    )


def tiles(*parts: Part) -> Markup:
    return tag("dl", *parts, class_="tiles")


def table(label: str, columns: Iterable[str], rows: Iterable[Iterable[Part]], *, numeric: Iterable[str] = ()) -> Markup:
    """A table; on a narrow screen each row becomes a block, so every cell names its column. Roles are said because
    display: block would take them away."""
    names, figures = list(columns), frozenset(numeric)
    head = tag(
        "tr",
        *(
            tag("th", name, role="columnheader", scope="col", class_="number" if name in figures else None)
            for name in names
        ),
        role="row",
    )
    body = [
        tag(
            "tr",
            *(
                tag("td", tag("div", cell), role="cell", data_column=name, class_="number" if name in figures else None)
                for name, cell in zip(names, row, strict=True)
            ),
            role="row",
        )
        for row in rows
    ]
    return tag(
        "table",
        tag("thead", head, role="rowgroup"),
        tag("tbody", *body, role="rowgroup"),
        role="table",
        aria_label=label,
    )


def details(summary: Part, *parts: Part, key: str) -> Markup:
    """Something that opens; `key` keeps it open when its section is drawn anew."""
    return tag("details", tag("summary", summary, data_key=f"{key}-summary"), *parts, data_key=key)


def button(
    text: str, action: str, fields: Mapping[str, str] | None = None, *, tone: str = "", asks: "Question | None" = None
) -> Markup:
    """A button that does `action` with `fields`; with `asks` after a dialog, whose inputs join the fields."""
    given = json.dumps(dict(fields or {}))
    return tag(
        "button",
        text,
        type="button",
        class_=f"button {tone}".rstrip(),
        data_action=action,
        data_fields=given,
        data_key=f"{action} {given}",
        data_ask=None if asks is None else asks.as_json(),
    )


def form(action: str, *parts: Part) -> Markup:
    """Inputs that are sent together: those with `data_field`, by that name. The value of the button that was pressed
    names another action than `action`."""
    return tag("form", *parts, data_form=action, class_="entry")


class Question:
    """What the dialog shows before something is done: most often a reason, and sometimes one more input.

    `is_reasoned`: what is done keeps the reason.
    """

    def __init__(
        self,
        title: str,
        text: str,
        *,
        reason: str = "",
        name: str = "",
        label: str = "",
        value: str = "",
        is_reasoned: bool = True,
    ) -> None:
        given = {"title": title, "text": text, "reason": reason, "name": name, "label": label, "value": value}
        self._given = {**given, "isReasoned": is_reasoned}

    def as_json(self) -> str:
        return json.dumps(self._given)
