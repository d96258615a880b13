"""The HTTP edge: which lane a request takes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module

from starlette.types import ASGIApp, Receive, Scope, Send

from uhlp.web.admin.lane import AdminLane
from uhlp.web.admin_token import AdminToken
from uhlp.web.built_when_needed import BuiltWhenNeeded
from uhlp.web.ingress import PREFIX, Ingress
from uhlp.web.panel.lane import PANEL, PanelLane
from uhlp.web.services import Services


class Edge:
    """ASGI application: application traffic to the ingress, the panel to its lane, all else to the admin lane."""

    def __init__(self, *, ingress: ASGIApp, admin: ASGIApp, panel: ASGIApp) -> None:
        self._ingress = ingress
        self._admin = admin
        self._panel = panel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if scope["type"] == "http" and path.startswith(PREFIX):
            await self._ingress(scope, receive, send)
        elif path == PANEL or path.startswith(PANEL + "/"):
            await self._panel(scope, receive, send)
        elif scope["type"] == "http":
            await self._admin(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})


@asynccontextmanager
async def open_edge(services: Services) -> AsyncIterator[Edge]:
    """The edge over `services`; leaving it ends what the panel started."""
    token = AdminToken(
        services.admin_token,
        clock=services.clock,
        failures_per_minute=services.settings.failed_logins_per_minute,
    )

    async def admin() -> ASGIApp:
        application = await asyncio.to_thread(import_module, "uhlp.web.admin.application")
        built: ASGIApp = application.build_admin(services)
        return built

    async with AsyncExitStack() as stack:
        yield Edge(
            ingress=Ingress(services),
            admin=AdminLane(BuiltWhenNeeded(admin), token=token, settings=services.settings),
            panel=PanelLane(services, token=token, stack=stack),
        )
