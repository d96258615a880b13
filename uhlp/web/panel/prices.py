"""Whether nothing in dollars is free or unknown, where only a sum was kept."""

from contextlib import suppress

from uhlp.errors import AppNotFound, Unavailable
from uhlp.web.services import Services


async def unpriced_calls(services: Services, app_id: str) -> int | None:
    """How many model calls of the application, ever, had no known price; None when it is not in service."""
    with suppress(AppNotFound, Unavailable):
        calls: int = (await services.evolution.usage(app_id))["total"]["unpricedCalls"]
        return calls
    return None
