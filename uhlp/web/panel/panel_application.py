"""The panel as an ASGI application of its own. Only the panel's lane imports this module, and only when someone has
logged in: NiceGUI takes seconds and tens of megabytes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

from fastapi import FastAPI, Request
from nicegui import ui
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from uhlp.web.panel.addresses import PANEL
from uhlp.web.panel.page import Visit
from uhlp.web.panel.page_table import page_at
from uhlp.web.panel.page_view import PageView
from uhlp.web.services import Services

ASSETS = Path(__file__).parent / "assets"
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1f5fbf"/>'
    '<path d="M9 8v9a7 7 0 0 0 14 0V8" fill="none" stroke="#fff" stroke-width="3.4" stroke-linecap="round"/></svg>'
)


@asynccontextmanager
async def open_panel(services: Services) -> AsyncIterator[ASGIApp]:
    """Its lifespan is entered here, because the server's has passed."""
    head = _head()

    async def root(request: Request) -> None:
        ui.add_head_html(head)
        visit = Visit(services=services, administrator=request.state.administrator, query=dict(request.query_params))
        page = await page_at(request.url.path.removeprefix(PANEL), visit)
        ui.context.client.status_code = page.status
        await PageView(page, administrator=visit.administrator, clock=services.clock).open()

    application = FastAPI(openapi_url=None)
    application.mount("/assets", StaticFiles(directory=ASSETS), name="assets")
    ui.run_with(
        application,
        root=root,
        title="UHLP",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        mount_path="/",
        show_welcome_message=False,
    )
    async with application.router.lifespan_context(application):
        yield application


def _head() -> str:
    """Style and script, under addresses that change with them."""
    versions = {name: sha256((ASSETS / name).read_bytes()).hexdigest()[:12] for name in ("panel.css", "panel.js")}
    return (
        f'<link rel="stylesheet" href="{PANEL}/assets/panel.css?v={versions["panel.css"]}">'
        f'<script defer src="{PANEL}/assets/panel.js?v={versions["panel.js"]}"></script>'
    )
