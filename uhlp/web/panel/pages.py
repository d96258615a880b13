"""The panel's page, in NiceGUI. Only the panel's lane imports this module, and only when someone has logged in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from nicegui import ui
from starlette.types import ASGIApp

from uhlp.web.panel.overview import ApplicationCard, applications, isolation
from uhlp.web.services import Services

REFRESH_S = 3.0

_COLUMNS = [
    {"name": "component", "label": "Component", "field": "component", "align": "left"},
    {"name": "route", "label": "Route", "field": "route", "align": "left"},
    {"name": "handler", "label": "Handler", "field": "handler", "align": "left"},
    {"name": "implementation", "label": "Implementation", "field": "implementation", "align": "left"},
    {"name": "requests", "label": "Requests, last hour", "field": "requests", "align": "right"},
    {"name": "p50", "label": "p50", "field": "p50", "align": "right"},
    {"name": "candidate", "label": "Candidate", "field": "candidate", "align": "left"},
]
_STYLE = """
  body { background: #f5f6f8; color: #1b2430; }
  body.body--dark { background: #12161c; color: #e6eaf0; }
  .uhlp-mono { font-family: ui-monospace, monospace; font-size: .85rem; }
  .uhlp-quiet { opacity: .65; }
  .q-table th { font-weight: 600; opacity: .75; }
  .q-table td, .q-table th { font-variant-numeric: tabular-nums; }
"""


@asynccontextmanager
async def open_panel(services: Services) -> AsyncIterator[ASGIApp]:
    """The panel as an ASGI application of its own; its lifespan is entered here because the server's has passed."""

    async def overview() -> None:
        ui.add_css(_STYLE)
        _header(services)
        with ui.column().classes("w-full max-w-6xl mx-auto p-4 gap-4"):
            await cards()
        ui.timer(REFRESH_S, cards.refresh)

    @ui.refreshable
    async def cards() -> None:
        shown = await applications(services)
        if not shown:
            with ui.card().classes("w-full").props("flat bordered"):
                ui.label("No applications yet").classes("text-lg font-medium")
                ui.label("uhlp init my-app && uhlp apply my-app").classes("uhlp-mono uhlp-quiet")
        for card in shown:
            _application(card)

    application = FastAPI()
    ui.run_with(
        application,
        root=overview,
        title="UHLP",
        dark=None,
        mount_path="/",
        show_welcome_message=False,
    )
    async with application.router.lifespan_context(application):
        yield application


def _header(services: Services) -> None:
    walls = isolation(services)
    with ui.header().classes("items-center gap-4 px-6").style("background: #1f3a56"):
        ui.label("UHLP").classes("text-lg font-semibold")
        ui.label("Applications and components").classes("uhlp-quiet")
        ui.space()
        unwalled = walls["isolation"] == "none"
        text = f"{walls['driver']} driver · isolation: {walls['isolation']}"
        with ui.badge(text).props(f"color={'negative' if unwalled else 'blue-grey-8'}").classes("px-3 py-1"):
            if walls["missing"]:
                ui.tooltip("Missing: " + ", ".join(walls["missing"]))
        with ui.element("form").props('method="post" action="/panel/logout"'):
            ui.button("Log out").props('type="submit" flat dense color="white" no-caps')


def _application(card: ApplicationCard) -> None:
    with ui.card().classes("w-full gap-2").props("flat bordered"):
        with ui.row().classes("w-full items-baseline gap-3"):
            ui.label(card.display_name).classes("text-lg font-medium")
            ui.label(f"{card.app_id} @ {card.revision}").classes("uhlp-mono uhlp-quiet")
            ui.space()
            ui.badge(card.status).props(f"color={'positive' if card.status == 'ACTIVE' else 'warning'}")
        rows = [
            {
                "component": row.component_id,
                "route": row.route,
                "handler": row.handler_type,
                "implementation": row.implementation,
                "requests": f"{row.requests:,}",
                "p50": "-" if row.p50_ms is None else f"{row.p50_ms:,.1f} ms",
                "candidate": row.candidate or "-",
            }
            for row in card.components
        ]
        ui.table(columns=_COLUMNS, rows=rows, row_key="component").classes("w-full").props("flat dense hide-pagination")
