"""A new application: from a description to files that a person looks at, changes and registers."""

from dataclasses import dataclass, field
from typing import Any

from uhlp.authoring.draft import MOST_CHARACTERS, MOST_DESCRIPTION_CHARACTERS, Draft
from uhlp.authoring.templates_of_applications import TEMPLATES
from uhlp.errors import BadInput, PermissionDenied
from uhlp.web.admin.role_table import needed_role
from uhlp.web.panel import addresses, figures, requests
from uhlp.web.panel.markup import EMPTY, Markup, empty, form, join, link, mono, note, tag
from uhlp.web.panel.page import Action, Fields, Page, Section, Visit

_FILE = "file:"
_OVERHEAD_CHARACTERS = 5_000
"""What a form sends beside the files: their names, and the description."""


@dataclass
class _Bench:
    """What is on this page now; another page begins anew."""

    draft: Draft | None = None
    description: str = ""
    registered: str = ""
    files: dict[str, str] = field(default_factory=dict)
    problems: tuple[dict[str, Any], ...] = ()
    is_drafting: bool = False


async def create_page(visit: Visit) -> Page:
    if not visit.administrator.role.covers(needed_role(*requests.DRAFT.split())):
        raise PermissionDenied("Applications are created by owners.")
    author, bench = visit.services.author, _Bench()

    async def draft(fields: Fields) -> str:
        bench.description = fields.get("description", "")
        bench.is_drafting = True
        try:
            made = await author.draft(bench.description, template=fields.get("template") or None)
        finally:
            bench.is_drafting = False
        bench.draft, bench.files, bench.problems, bench.registered = made, dict(made.files), made.problems, ""
        return "Look at every file: nothing is registered yet."

    async def check(fields: Fields) -> str:
        bench.files = _files(fields)
        bench.problems = await author.problems(bench.files)
        return (
            f"It has {figures.number_of(len(bench.problems), 'problem')}."
            if bench.problems
            else "It can be registered."
        )

    async def register(fields: Fields) -> str:
        bench.files = _files(fields)
        bench.problems = await author.problems(bench.files)
        if bench.problems:
            raise BadInput(f"It has {figures.number_of(len(bench.problems), 'problem')}: see the list above the files.")
        bench.registered = (await author.register(bench.files, actor=visit.actor)).app_id
        return f"{bench.registered} is registered."

    async def describe() -> Markup:
        return _describe(bench)

    async def review() -> Markup:
        return _review(bench)

    return Page(
        title="Create an application",
        place="Overview",
        trail=(("Overview", addresses.OVERVIEW),),
        sections=(
            Section(name="What is it to do?", draw=describe, every_s=1),
            Section(name="Its files", draw=review, every_s=3_600),
        ),
        actions={
            "draft": Action(requests.DRAFT, draft),
            "check": Action(requests.DRAFT, check),
            "register": Action(requests.REGISTER, register),
        },
        most_characters=MOST_CHARACTERS + _OVERHEAD_CHARACTERS,
    )


def _files(fields: Fields) -> dict[str, str]:
    """The files that the form holds; one that was emptied is left out."""
    files = {name.removeprefix(_FILE): text for name, text in fields.items() if name.startswith(_FILE) and text.strip()}
    if not files:
        raise BadInput("There is no draft yet.")
    return files


def _describe(bench: _Bench) -> Markup:
    if bench.is_drafting:
        return join([tag("p", bench.description), note("It is being drafted; a model takes up to a minute or two.")])
    options = [tag("option", "a model, or the template that fits", value="")]
    options += [tag("option", f"the template {name}", value=name) for name in TEMPLATES]
    text = tag(
        "textarea", bench.description, rows=4, required=True, maxlength=MOST_DESCRIPTION_CHARACTERS,
        data_field="description", placeholder="Sort letters of our customers into praise, complaint or other.",
    )  # fmt: skip
    return form(
        "draft",
        tag("label", tag("span", "In your words: what comes in, what is to come out, which cases there are"), text),
        tag("label", tag("span", "Drafted by"), tag("select", *options, data_field="template"), class_="short"),
        tag("div", tag("button", "Draft it", class_="button strong"), class_="buttons"),
    )


def _review(bench: _Bench) -> Markup:
    if bench.draft is None:
        return empty("No draft yet.", "A draft registers nothing: you look at it, change it, and register it then.")
    if bench.registered:
        there = link(bench.registered, addresses.application(bench.registered))
        return note(join(["Registered: ", there, ". It serves from now on."]), "good")
    by = "A model wrote it" if bench.draft.source == "model" else f"It is the template {bench.draft.template}"
    problems = [tag("li", mono(_place(one)), f" {one['message']}") for one in bench.problems]
    told = (
        join([note(f"What keeps it from being registered: {figures.number_of(len(problems), 'problem')}.", "bad"),
              tag("ul", *problems, class_="sentences")])
        if problems
        else note("It can be registered.", "good")
    )  # fmt: skip
    is_closed = "public:" not in bench.files.get("app.yaml", "")
    keys = "Its routes need a key; with public: true in app.yaml they answer anyone." if is_closed else None
    editors = [
        tag(
            "label",
            tag("span", mono(path)),
            tag("textarea", text, rows=_rows(text), spellcheck="false", class_="code", data_field=f"{_FILE}{path}"),
        )
        for path, text in bench.files.items()
    ]
    return join(
        [
            tag("p", f"{by}. Read every file before you register it."),
            told,
            tag("p", keys, class_="quiet") if keys else EMPTY,
            form(
                "check",
                *editors,
                tag(
                    "div",
                    tag("button", "Check", class_="button", value="check"),
                    tag("button", "Register", class_="button strong", value="register"),
                    class_="buttons",
                ),
            ),
        ]
    )


def _rows(text: str) -> int:
    return min(24, max(3, text.count("\n") + 1))


def _place(one: dict[str, Any]) -> str:
    line = f"line {one['line']}" if one.get("line") else ""
    return ", ".join(str(part) for part in (one.get("file"), line, one.get("path")) if part)
