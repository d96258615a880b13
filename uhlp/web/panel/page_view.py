"""A page on the screen: NiceGUI carries its sections to the browser, and what people press back."""

import asyncio
from typing import Any

import structlog
from nicegui import ui

from uhlp.access.administrator import Administrator
from uhlp.clock import Clock
from uhlp.errors import UhlpError
from uhlp.web.panel.markup import Markup, note, tag
from uhlp.web.panel.page import Page, Section
from uhlp.web.panel.shell import dialog, footing, heading

log = structlog.get_logger(__name__)

TICK_S = 1.0
FIRST_DRAWN_WITHIN_S = 1.5


class PageView:
    """One page, open in one browser. What is not drawn in time for the first answer says that it is loading."""

    def __init__(self, page: Page, *, administrator: Administrator, clock: Clock) -> None:
        self._page = page
        self._administrator = administrator
        self._clock = clock
        self._shown = [_ShownSection(section) for section in page.sections]

    async def open(self) -> None:
        """Build the elements; sections are drawn side by side."""
        ui.page_title(f"{self._page.title} · UHLP")
        ui.html(heading(self._page, self._administrator), sanitize=True).classes("page-head")
        with ui.element("div").props('id="content" tabindex="-1"').classes("content"):
            for shown in self._shown:
                shown.place()
        ui.html(dialog(), sanitize=True)
        ui.html(footing(self._administrator), sanitize=True, tag="footer").classes("page-foot")
        drawing = [asyncio.create_task(shown.draw()) for shown in self._shown]
        _done, late = await asyncio.wait(drawing, timeout=FIRST_DRAWN_WITHIN_S)
        for task in late:
            task.cancel()  # the first tick draws it
        now = self._clock.monotonic()
        for shown, task in zip(self._shown, drawing, strict=True):
            shown.due = now if task in late else now + shown.section.every_s
        ui.timer(TICK_S, self._tick, immediate=False)
        ui.on("panel_action", lambda event: self._act(event.args))

    async def _tick(self) -> None:
        now = self._clock.monotonic()
        for shown in self._shown:
            if shown.due <= now:
                await shown.draw()
                shown.due = self._clock.monotonic() + shown.section.every_s

    async def _act(self, given: Any) -> None:
        try:
            told = await self._page.act(self._administrator, given)
        except UhlpError as error:
            ui.notify(error.message, type="negative", multi_line=True, timeout=10_000, close_button="Close")
        except Exception:
            log.exception("panel_action_failed")
            ui.notify("It failed; the server's log says why.", type="negative")
        else:
            log.info("panel_action", actor=self._administrator.name, page=self._page.title)
            ui.notify(told, type="positive", multi_line=True)
        for shown in self._shown:
            shown.due = 0.0
        await self._tick()


class _ShownSection:
    """A section and the element that holds it."""

    def __init__(self, section: Section) -> None:
        self.section = section
        self.due = 0.0
        self._element: ui.html | None = None

    def place(self) -> None:
        self._element = ui.html(self._framed(tag("p", "Loading …", class_="loading")), sanitize=True, tag="section")
        self._element.classes("section")

    async def draw(self) -> None:
        try:
            drawn = await self.section.draw()
        except UhlpError as error:
            drawn = note(error.message, "bad")
        except Exception:
            log.exception("panel_section_failed", section=self.section.name)
            drawn = note("This could not be read; the server's log says why. It is tried again.", "bad")
        if self._element is not None and (content := self._framed(drawn)) != self._element.content:
            self._element.content = content

    def _framed(self, drawn: Markup) -> str:
        if self.section.is_plain:
            return str(drawn)
        return str(tag("h2", self.section.name) + drawn)
