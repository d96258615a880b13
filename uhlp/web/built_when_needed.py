"""Parts of the edge that are built by the first request that needs them, so that a start does not wait for them."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send


class BuiltWhenNeeded:
    """ASGI application that awaits `build` once; requests that come meanwhile wait for it. A failure is retried."""

    def __init__(self, build: Callable[[], Awaitable[ASGIApp]]) -> None:
        self._build = build
        self._building = asyncio.Lock()
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if app is None:
            async with self._building:
                app = self._app or await self._build()
                self._app = app
        await app(scope, receive, send)
