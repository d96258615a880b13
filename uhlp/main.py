"""`app`, for `uvicorn uhlp.main:app` and `uhlp serve`.

Importing this module has no side effect and loads nothing heavy: settings are read and the services are opened when
the server starts the lifespan, and closed in reverse order when it ends, after the requests in flight have finished.
"""

import gc
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TYPE_CHECKING, Any

from uhlp.errors import UhlpError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from uhlp.web.services import Services

OpenServices = Callable[[], AbstractAsyncContextManager["Services"]]

COLLECT_AFTER = (10_000, 2, 5)
"""What some dozen requests hold while they are in flight exceeds Python's own 700 objects, so that it would look for
garbage among them at every wave of requests and find none: a tenth of their time. Full collections stay about as
frequent.
"""


def _open_configured_services() -> "AbstractAsyncContextManager[Services]":
    from uhlp.wiring import open_services

    opened: AbstractAsyncContextManager[Services] = open_services()
    return opened


class Server:
    """The ASGI application: runs the lifespan, then hands every request to the edge."""

    def __init__(self, open_services: OpenServices = _open_configured_services) -> None:
        self._open_services = open_services
        self._edge: ASGIApp | None = None

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if self._edge is not None and scope["type"] != "lifespan":
            await self._edge(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(scope.get("state"), receive, send)
        else:
            raise RuntimeError("The ASGI server must run the lifespan: without it UHLP has no services.")

    async def _lifespan(self, state: dict[str, Any] | None, receive: "Receive", send: "Send") -> None:
        await receive()  # lifespan.startup
        gc.disable()  # while what stays is being made
        thresholds = gc.get_threshold()
        async with AsyncExitStack() as stack:
            try:
                from uhlp.web.draining import DRAINING
                from uhlp.web.edge import open_edge

                services = await stack.enter_async_context(self._open_services())
                self._edge = await stack.enter_async_context(open_edge(services))
                if state is not None:
                    state[DRAINING] = services.draining
                gc.freeze()  # later collections need not look at it again
                gc.set_threshold(*COLLECT_AFTER)
            except Exception as error:
                if not isinstance(error, UhlpError | OSError | ValueError):
                    traceback.print_exception(error)  # a fault of ours; logging may not be set up yet
                await send({"type": "lifespan.startup.failed", "message": f"UHLP cannot start: {_one_line(error)}"})
                return
            finally:
                gc.enable()
            await send({"type": "lifespan.startup.complete"})
            await receive()  # lifespan.shutdown; the server has waited for requests in flight
            self._edge = None
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        await send({"type": "lifespan.shutdown.complete"})


def _one_line(error: Exception) -> str:
    text = error.message if isinstance(error, UhlpError) else str(error)
    return "; ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__


app = Server()
