"""Queues of applications: what waits in them, and their dead letters."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query

from uhlp.mailbox.message_queue import MOST_LISTED
from uhlp.web.admin.access import ActorDep, ServicesDep

router = APIRouter(prefix="/apps/{app_id}/queues", tags=["queues"])

log = structlog.get_logger(__name__)


@router.get("")
async def queues(app_id: str, services: ServicesDep) -> dict[str, Any]:
    """Every queue with its consumer and how many messages are ready, leased, delayed and dead; `_events` holds what
    events with several listeners, and schedules, have started.
    """
    return {"queues": await services.sources.queues.overview(app_id)}


@router.get("/{queue}/dead-letters")
async def dead_letters(
    app_id: str, queue: str, services: ServicesDep, limit: Annotated[int, Query(ge=1, le=MOST_LISTED)] = 100
) -> dict[str, Any]:
    """The oldest messages that are not delivered any more, and why; fields that samples mask are masked here."""
    return {"deadLetters": await services.sources.queues.dead_letters(app_id, queue, limit=limit)}


@router.post("/{queue}/dead-letters/{message_id}/revive")
async def revive(app_id: str, queue: str, message_id: str, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Deliver a dead letter anew, its earlier deliveries forgotten."""
    await services.sources.queues.revive(app_id, queue, message_id)
    log.info("dead_letter_revived", app_id=app_id, queue=queue, message_id=message_id, actor=actor)
    return {"messageId": message_id, "revived": True}


@router.delete("/{queue}/dead-letters")
async def purge(app_id: str, queue: str, services: ServicesDep, actor: ActorDep) -> dict[str, Any]:
    """Remove all dead letters of a queue for good."""
    removed = await services.sources.queues.purge(app_id, queue)
    log.info("dead_letters_purged", app_id=app_id, queue=queue, removed=removed, actor=actor)
    return {"removed": removed}
