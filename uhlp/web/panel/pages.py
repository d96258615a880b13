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
_COLOURS = {"dark": "#1b2129", "dark_page": "#12161c", "positive": "#1e7a3c", "warning": "#8a5a00"}
_STYLE = """
  body { background: #f5f6f8; color: #1b2430; }
  body.body--dark { background: #12161c; color: #e6eaf0; }
  .uhlp-mono { font-family: ui-monospace, monospace; font-size: .85rem; }
  .uhlp-quiet { opacity: .65; }
  .q-table th { font-weight: 600; opacity: .75; }
  .q-table tbody td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; white-space: normal; }
  .q-table td:first-child, .q-table th:first-child { padding-left: 0; }
"""
_WIDE_STYLE = """
  .q-table { table-layout: fixed; }  /* columns stand below each other from card to card */
  .q-table th:nth-child(1) { width: 19%; }
  .q-table th:nth-child(2) { width: 23%; }
  .q-table th:nth-child(3) { width: 11%; }
  .q-table th:nth-child(6) { width: 9%; }
  .q-table th:nth-child(7) { width: 13%; }
  .q-table td:nth-child(7), .q-table th:nth-child(7) { padding-left: 1.5rem; }
"""
_NARROW_STYLE = """
  .q-table thead { display: none; }  /* a component is a block, one line for each column */
  .q-table tbody tr { display: block; height: auto; padding: .5rem 0; border-top: 1px solid rgba(128, 128, 128, .3); }
  .q-table tbody td { display: flex; justify-content: space-between; gap: 1rem; height: auto; padding: .15rem 0;
                      border: 0; }
  .q-table tbody td:first-child { font-weight: 600; }
  .q-table tbody td::before { display: none; }
  .q-table tbody td::after { position: static; order: -1; background: none; opacity: .65; white-space: nowrap; }
""" + "".join(
    f"  .q-table tbody td:nth-child({place})::after {{ content: '{column['label']}'; }}\n"
    for place, column in enumerate(_COLUMNS[1:], start=2)
)


@asynccontextmanager
async def open_panel(services: Services) -> AsyncIterator[ASGIApp]:
    """The panel as an ASGI application of its own; its lifespan is entered here because the server's has passed."""

    async def overview() -> None:
        ui.colors(**_COLOURS)
        ui.add_css(
            f"{_STYLE} @media (min-width: 800px) {{{_WIDE_STYLE}}} @media (max-width: 799.98px) {{{_NARROW_STYLE}}}"
        )
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
    with ui.header().classes("items-center gap-x-2 gap-y-1 px-4").style("background: #1f3a56"):
        ui.label("UHLP").classes("text-lg font-semibold")
        ui.label("Applications and components").classes("uhlp-quiet gt-xs ml-2")
        ui.space()
        unwalled = walls["isolation"] == "none"
        text = f"{walls['driver']} driver · isolation: {walls['isolation']}"
        with ui.badge(text).props(f"color={'negative' if unwalled else 'blue-grey-8'}").classes("px-2 py-1"):
            if walls["missing"]:
                ui.tooltip("Missing: " + ", ".join(walls["missing"]))
        administrator = ui.context.client.request.state.administrator
        ui.label(f"{administrator.name}, {administrator.role}").classes("uhlp-quiet")
        with ui.element("form").props('method="post" action="/panel/logout"'):
            ui.button("Log out").props('type="submit" flat dense color="white" no-caps')


def _application(card: ApplicationCard) -> None:
    with ui.card().classes("w-full gap-2").props("flat bordered"):
        with ui.row().classes("w-full items-baseline gap-3"):
            ui.label(card.display_name).classes("text-lg font-medium")
            ui.badge(card.status).props(f"color={'positive' if card.status == 'ACTIVE' else 'warning'}")
            ui.space()
            ui.label(f"{card.app_id} @ {card.revision}").classes("uhlp-mono uhlp-quiet")
        for problem in card.problems:
            ui.label(problem).classes("text-warning")
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
