"""Which page stands at an address."""

import re
from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from uhlp.errors import NotFound, UhlpError
from uhlp.web.panel.addresses import OVERVIEW
from uhlp.web.panel.markup import Markup, empty, link
from uhlp.web.panel.page import Page, Section, Visit
from uhlp.web.panel.pages.application import application_page
from uhlp.web.panel.pages.candidate import candidate_page
from uhlp.web.panel.pages.candidates import candidates_page
from uhlp.web.panel.pages.component import component_page
from uhlp.web.panel.pages.compression import compression_page
from uhlp.web.panel.pages.create import create_page
from uhlp.web.panel.pages.evaluation import evaluation_page
from uhlp.web.panel.pages.evaluations import evaluations_page
from uhlp.web.panel.pages.events import events_page
from uhlp.web.panel.pages.execution import execution_page
from uhlp.web.panel.pages.ledger import ledger_page
from uhlp.web.panel.pages.money import money_page
from uhlp.web.panel.pages.overview import overview_page
from uhlp.web.panel.pages.prompt import prompt_page
from uhlp.web.panel.pages.sandboxes import sandboxes_page
from uhlp.web.panel.pages.settings import settings_page
from uhlp.web.panel.pages.waiting import waiting_page
from uhlp.web.panel.pages.workflows import workflows_page

Builder = Callable[..., Awaitable[Page]]
_PAGES: tuple[tuple[str, Builder], ...] = (
    ("/", overview_page),
    ("/create", create_page),
    ("/apps/([^/]+)", application_page),
    ("/apps/([^/]+)/components/([^/]+)", component_page),
    ("/apps/([^/]+)/prompts/([^/]+)", prompt_page),
    ("/apps/([^/]+)/evals", evaluations_page),
    ("/apps/([^/]+)/evals/([^/]+)", evaluation_page),
    ("/compressions/([^/]+)", compression_page),
    ("/workflows", workflows_page),
    ("/workflows/([^/]+)/([^/]+)", execution_page),
    ("/candidates", candidates_page),
    ("/candidates/([^/]+)", candidate_page),
    ("/waiting", waiting_page),
    ("/money", money_page),
    ("/sandboxes", sandboxes_page),
    ("/ledger", ledger_page),
    ("/events", events_page),
    ("/settings", settings_page),
)


async def page_at(path: str, visit: Visit) -> Page:
    """The page; one that says so where there is none, or nothing of that name."""
    try:
        for pattern, builder in _PAGES:
            if match := re.fullmatch(pattern, path if path == "/" else path.rstrip("/")):
                return await builder(visit, *(unquote(part) for part in match.groups()))
        raise NotFound("There is no such page.")
    except UhlpError as error:
        return _told(error)


def _told(error: UhlpError) -> Page:
    async def draw() -> Markup:
        return empty(error.message, link("To the overview", OVERVIEW))

    title = "Not found" if error.status == 404 else "Not possible"
    return Page(
        title=title,
        place="",
        sections=(Section(name="", draw=draw, is_plain=True, every_s=3_600),),
        status=error.status,
    )
