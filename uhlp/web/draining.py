"""How the end of the server reaches answers that never end by themselves.

uvicorn waits for every answer before it tells the application that it ends. So the lifespan puts an event into the
state that all requests share, the protocol sets it when uvicorn begins to drain, and streams end.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

DRAINING = "draining"


def draining_of(state: Mapping[str, Any]) -> asyncio.Event | None:
    """The event that is set when the server begins to end; None behind another server than `uhlp serve`."""
    found = state.get(DRAINING)
    return found if isinstance(found, asyncio.Event) else None
