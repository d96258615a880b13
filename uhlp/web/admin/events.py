"""Server-sent events: decisions as they enter the ledger, and conditions as they begin (contracts §7)."""

from collections.abc import AsyncIterator
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from uhlp.errors import BadInput
from uhlp.evolution.notifications import Notification
from uhlp.web.admin.access import ServicesDep
from uhlp.web.draining import draining_of

router = APIRouter(tags=["evolution"])

RECONNECT_MS = 2_000
_OPENING = f": UHLP events\nretry: {RECONNECT_MS}\n\n".encode()
_HEARTBEAT = b":\n\n"


@router.get("/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def events(
    request: Request,
    services: ServicesDep,
    app_id: Annotated[str | None, Query(alias="appId")] = None,
    after: Annotated[int | None, Query(ge=0)] = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Follow evolution. The id of an event is its number in the ledger: a client that comes back with Last-Event-ID (or
    `after`) reads on from there and misses no decision; without, it begins now. Conditions (a freeze, a spent budget …)
    have no id. A comment comes every `limits.events_heartbeat_s` without news.
    """
    seq = after if last_event_id is None else _seq(last_event_id)
    services.notifications.check_room()
    stream = services.notifications.follow(
        after=seq,
        app_id=app_id,
        heartbeat_s=services.settings.events_heartbeat_s,
        until=draining_of(request.scope["state"]),
    )
    return StreamingResponse(_lines(stream), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _lines(stream: AsyncIterator[Notification | None]) -> AsyncIterator[bytes]:
    yield _OPENING
    async for told in stream:
        yield _HEARTBEAT if told is None else _event(told)


def _event(told: Notification) -> bytes:
    """The id comes with the last of what is told of an entry: who is cut off before it is told all of it again."""
    number = b"id: %d\n" % told.seq if told.seq is not None and told.is_last else b""
    return b"%sevent: %s\ndata: %s\n\n" % (number, told.event.encode(), orjson.dumps(told.to_dict()))


def _seq(last_event_id: str) -> int:
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 19):
        raise BadInput("Last-Event-ID is the id of an event: its number in the ledger.")
    return int(last_event_id)
