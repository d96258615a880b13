"""What a page of the panel consists of. Nothing here knows NiceGUI: `page_view` puts it on the screen."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from uhlp.access.administrator import Administrator
from uhlp.errors import BadInput
from uhlp.web.admin.role_table import check_role, needed_role
from uhlp.web.panel.markup import EMPTY, Markup, Question, button

if TYPE_CHECKING:
    from uhlp.web.services import Services

MOST_FIELD_CHARACTERS = 20_000

Fields = Mapping[str, str]
"""What a button or form sends. It comes from a browser and is checked like any other input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One look at one page: who looks, and what the address asks for."""

    services: "Services"
    administrator: Administrator
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def actor(self) -> str:
        """The name that decisions carry."""
        return self.administrator.name

    def button(
        self,
        request: str,
        text: str,
        action: str,
        fields: Fields | None = None,
        *,
        tone: str = "",
        asks: Question | None = None,
    ) -> Markup:
        """A button for whoever may send `request`; nothing for others. It is checked again when it is pressed."""
        may = self.administrator.role.covers(needed_role(*request.split()))
        return button(text, action, fields, tone=tone, asks=asks) if may else EMPTY


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page that is drawn anew every `every_s` seconds, and shown when it has changed.

    `name` is its heading; with `is_plain` it has none.
    """

    name: str
    draw: Callable[[], Awaitable[Markup]]
    every_s: float = 2.0
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """What a button does for whoever may send `request`; returns the sentence that is shown afterwards."""

    request: str
    run: Callable[[Fields], Awaitable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """`trail` leads back: names and addresses of the pages above. `place` is the part of the panel it belongs to.
    `most_characters` is what an action may send.
    """

    title: str
    place: str
    sections: tuple[Section, ...]
    trail: tuple[tuple[str, str], ...] = ()
    actions: Mapping[str, Action] = field(default_factory=dict)
    status: int = 200
    most_characters: int = MOST_FIELD_CHARACTERS

    async def act(self, administrator: Administrator, given: Any) -> str:
        """Do what a button says, in the browser's words: {action, fields}. BadInput, PermissionDenied, and whatever
        the action raises."""
        name, fields = _checked(given, self.most_characters)
        action = self.actions.get(name)
        if action is None:
            raise BadInput(f"This page offers no {name!r}.")
        check_role(administrator, *action.request.split())
        return await action.run(fields)


def _checked(given: Any, most: int) -> tuple[str, dict[str, str]]:
    name = given.get("action") if isinstance(given, Mapping) else None
    fields = given.get("fields") if isinstance(given, Mapping) else None
    if not isinstance(name, str) or not isinstance(fields, Mapping):
        raise BadInput("A button sends its action and its fields.")
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in fields.items()):
        raise BadInput("Every field is a text.")
    if sum(len(value) for value in fields.values()) > most:
        raise BadInput(f"More than {most:,} characters were sent.")
    return name, dict(fields)
